"""NEFTune: how much noise, on what, and when there is none."""

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.example import Example, write_examples
from response_tuning.inference.batch import Batch, collate
from response_tuning.training.batches.packing import collate_packed, padded_lengths
from response_tuning.training.noise import embedding_noise, example_lengths
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


@pytest.fixture
def encoded(tokenizer: PreTrainedTokenizerBase, examples: list[Example]) -> list[EncodedExample]:
    """Eight real examples of different lengths."""
    return [Conversation(tokenizer, "tulu").encode(example, "it") for example in examples[:8]]


def embedded_with_noise(model: LlamaForCausalLM, batch: Batch, *, alpha: float) -> torch.Tensor:
    """What stands between the noisy embeddings and the plain ones."""
    embeddings = model.get_input_embeddings()
    with embedding_noise(model, batch, alpha=alpha):
        noisy: torch.Tensor = embeddings(batch.input_ids)
    difference: torch.Tensor = noisy - embeddings(batch.input_ids)
    return difference


def test_an_examples_length_is_its_own_padded_or_packed(encoded: list[EncodedExample]) -> None:
    lengths = [len(example.input_ids) for example in encoded]
    assert len(set(lengths)) > 1
    assert example_lengths(collate(encoded)).flatten().tolist() == lengths
    of_each_token = [length for length in padded_lengths(lengths) for _ in range(length)]
    assert example_lengths(collate_packed(encoded)).tolist() == [of_each_token]


@pytest.mark.parametrize("packed", [False, True])
def test_noise_is_uniform_within_alpha_over_the_root_of_length_and_width(
    model: LlamaForCausalLM, encoded: list[EncodedExample], packed: bool
) -> None:
    torch.manual_seed(0)
    noise = embedded_with_noise(model, collate_packed(encoded) if packed else collate(encoded), alpha=5.0)
    lengths = [len(example.input_ids) for example in encoded]
    rows = noise[0][: sum(lengths)].split(lengths) if packed else noise
    for row, length in zip(rows, lengths, strict=True):
        reach = 5.0 / math.sqrt(length * row.shape[1])
        own = row[:length]
        assert 0.99 * reach < own.abs().max() <= 1.001 * reach
        assert own.std() == pytest.approx(reach / math.sqrt(3), rel=0.05)
        assert own.norm() == pytest.approx(5.0 / math.sqrt(3), rel=0.05)
        assert abs(own.mean()) < 0.1 * reach


def test_no_noise_draws_no_random_numbers(model: LlamaForCausalLM, encoded: list[EncodedExample]) -> None:
    before = torch.get_rng_state()
    assert not embedded_with_noise(model, collate(encoded), alpha=0.0).any()
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_ends_with_the_block_even_after_an_error(model: LlamaForCausalLM, encoded: list[EncodedExample]) -> None:
    batch = collate(encoded)
    with pytest.raises(KeyError), embedding_noise(model, batch, alpha=5.0):
        raise KeyError
    embeddings = model.get_input_embeddings()
    assert torch.equal(embeddings(batch.input_ids), embeddings(batch.input_ids))
    assert torch.equal(embeddings(batch.input_ids), model.model.embed_tokens.weight[batch.input_ids])


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_training_with_noise_is_another_one_and_repeats_itself(
    model_folder: Path, examples: list[Example], tmp_path: Path, tuning: str
) -> None:
    write_examples(tmp_path / "data.jsonl", examples[:8])
    options = {"model": model_folder, "data": tmp_path / "data.jsonl", "device": "cpu", "tuning": tuning}
    weights = []
    for name, alpha in (("plain", 0.0), ("noisy", 5.0), ("again", 5.0)):
        values = {key: str(value) for key, value in options.items()}
        config = TrainingConfig.model_validate({**values, "output": tmp_path / name, "neftune_alpha": alpha})
        run = train(config)
        saved = run.model / "model.safetensors" if tuning == "full" else run.adapter / "adapter_model.safetensors"
        weights.append(load_file(saved))
    plain, noisy, again = weights
    assert any(not torch.equal(plain[name], noisy[name]) for name in plain)
    assert all(torch.equal(again[name], noisy[name]) for name in noisy)
