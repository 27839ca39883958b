"""SFTMix: who is mixed with whom, and the loss of mixtures against a plain one with whole logits."""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torch.optim import SGD
from transformers import Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from response_tuning.conversation import EncodedExample
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.training.batches.batching import Unit, units
from response_tuning.training.batches.packing import split
from response_tuning.training.objectives.sftmix.mixtures import mixed_count, mixtures_of, pair, paired_batches
from response_tuning.training.objectives.sftmix.objective import Sftmix
from response_tuning.training.parallel.processes import own_part
from response_tuning.training.parallel.replicated import Replicated
from response_tuning.training.step import Training, _gradients
from response_tuning.training.training_config import TrainingConfig

VOCABULARY = 97
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "initializer_range": 0.3,
    "pad_token_id": None,
}


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(**SHAPE))


def capped() -> PreTrainedModel:
    """Its head is tied to the embeddings, and its logits are capped so low that most bend."""
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, head_dim=8, final_logit_softcapping=1.0))


def random_examples(*lengths: int) -> list[EncodedExample]:
    """Prompts of a third, responses of two thirds."""
    torch.manual_seed(1)
    return [EncodedExample(torch.randint(VOCABULARY, (length,)).tolist(), max(1, length // 3)) for length in lengths]


def some_units() -> list[Unit]:
    """Three pairs of unlike responses, the shorter one in either place, and one example alone."""
    a, b, c, d, e, f, g = random_examples(9, 30, 21, 12, 15, 14, 8)
    return [pair(a, b, 0.8), pair(c, d, 0.35), pair(e, f, 0.0), Unit((g,))]


def is_pair(unit: Unit) -> bool:
    return len(unit.examples) == 2


def members(batch: Sequence[Unit]) -> list[EncodedExample]:
    return [example for unit in batch for example in unit.examples]


def objective(**options: Any) -> Sftmix:
    return Sftmix(TrainingConfig(output="x", sftmix_from="reference", **options))


def naive_mixture_losses(model: PreTrainedModel, mixed_pair: Unit, *, label_smoothing: float) -> Tensor:
    """With the logits of the whole vocabulary, and targets as probabilities."""
    hidden, targets = [], []
    for example in mixed_pair.examples:
        count = min(one.supervised_count for one in mixed_pair.examples)
        states = model.base_model(input_ids=torch.tensor([example.input_ids]), use_cache=False).last_hidden_state[0]
        hidden.append(states[example.prompt_length - 1 :][:count])
        targets.append(one_hot(torch.tensor(example.input_ids[example.prompt_length :][:count]), VOCABULARY))
    assert isinstance(mixed_pair.note, float)
    both_weights = (mixed_pair.note, 1 - mixed_pair.note)
    mixed, target = (
        sum(part * weight for part, weight in zip(both, both_weights, strict=True)) for both in (hidden, targets)
    )
    logits = model.get_output_embeddings()(mixed)
    cap = getattr(model.config, "final_logit_softcapping", None)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    return cross_entropy(logits, target.float(), reduction="none", label_smoothing=label_smoothing)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("trained_head", [False, True])
@pytest.mark.parametrize("make", [llama, capped])
def test_mixtures_have_the_loss_and_gradients_of_whole_logits(
    make: Callable[[], PreTrainedModel], trained_head: bool, label_smoothing: float
) -> None:
    model, pieces = make(), some_units()
    if not trained_head:
        model.get_output_embeddings().weight.requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    (micro_batch,) = split(pieces, tokens=10_000, packed=True)
    losses, mixtures = objective().losses(ResponseLoss(model, label_smoothing=label_smoothing), micro_batch).values()
    gradients = torch.autograd.grad(losses.sum() + 3 * mixtures.sum(), trained)
    pairs = filter(is_pair, sorted(pieces, key=lambda unit: -unit.tokens))
    naive = torch.cat([naive_mixture_losses(model, each, label_smoothing=label_smoothing) for each in pairs])
    plain = ResponseLoss(model, label_smoothing=label_smoothing)(micro_batch.batch)
    naive_gradients = torch.autograd.grad(plain.sum() + 3 * naive.sum(), trained)
    torch.testing.assert_close(losses, plain)
    torch.testing.assert_close(mixtures, naive, rtol=1e-5, atol=1e-5)
    for gradient, expected in zip(gradients, naive_gradients, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


def test_without_pairs_there_are_no_mixtures_and_the_same_bits() -> None:
    model = llama()
    for micro_batch in split(units(random_examples(9, 30, 21)), tokens=40, packed=False):
        losses, mixtures = objective().losses(ResponseLoss(model), micro_batch).values()
        assert mixtures_of(micro_batch.units) is None
        assert mixtures.shape == (0,)
        assert torch.equal(losses, ResponseLoss(model)(micro_batch.batch))


def gradients_of_a_step(pieces: list[Unit], tmp_path: Path, **options: Any) -> tuple[list[float], list[Tensor]]:
    """The losses and gradients that a training step makes of ``pieces``."""
    model = llama()
    values = {"output": tmp_path, "sftmix_from": "reference", "dtype": "float32", "max_gradient_norm": 1e9, **options}
    trained = list(model.parameters())
    config = TrainingConfig.model_validate(values)
    strategy, packed = Replicated(Accelerator(cpu=True)), config.batches.packing == "on"
    losses = _gradients(Training(config, model, Sftmix(config), strategy, SGD(trained), packed), pieces)
    return list(losses.values()), [parameter.grad for parameter in trained if parameter.grad is not None]


@pytest.mark.parametrize(
    "options", [{"packing": "on"}, {"micro_batch_tokens": 1}, {"packing": "on", "micro_batch_tokens": 70}]
)
def test_a_step_is_the_same_however_it_is_laid_out(tmp_path: Path, options: dict[str, Any]) -> None:
    pieces = some_units()
    losses, gradients = gradients_of_a_step(pieces, tmp_path, packing="off", micro_batch_tokens=10_000)
    other_losses, others = gradients_of_a_step(list(reversed(pieces)), tmp_path, **options)
    assert losses == pytest.approx(other_losses, rel=1e-5)
    for gradient, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)
    model = llama()
    mixtures = [naive_mixture_losses(model, each, label_smoothing=0) for each in filter(is_pair, pieces)]
    assert losses[1] == pytest.approx(torch.cat(mixtures).mean().item(), rel=1e-5)


@pytest.mark.parametrize("processes", [2, 3])
def test_what_several_processes_make_of_their_shares_adds_up_to_the_step(tmp_path: Path, processes: int) -> None:
    pieces = some_units()
    (whole, mixed), gradients = gradients_of_a_step(pieces, tmp_path)
    shares = [own_part(pieces, process=process, processes=processes) for process in range(processes)]
    assert sorted(id(piece) for part in shares for piece in part) == sorted(id(piece) for piece in pieces)
    model = llama()
    ordinary, mixtures = torch.zeros(()), torch.zeros(())
    for micro_batch in chain(*(split(part, tokens=70, packed=False) for part in shares if part)):
        losses, of_mixtures = objective().losses(ResponseLoss(model), micro_batch).values()
        ordinary = ordinary + losses.sum() / sum(piece.supervised_count for piece in pieces)
        mixtures = mixtures + of_mixtures.sum() / sum(map(mixed_count, pieces))
    assert (whole, mixed) == pytest.approx((ordinary.item(), mixtures.item()), rel=1e-5)
    for gradient, other in zip(
        gradients, torch.autograd.grad(ordinary + 0.2 * mixtures, list(model.parameters())), strict=True
    ):
        torch.testing.assert_close(gradient, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 40, 60, 1000])
def test_pairs_are_never_cut_and_padding_counts(tokens: int) -> None:
    pieces = some_units()
    micro_batches = list(split(pieces, tokens=tokens, packed=False))
    mixtures = [mixtures_of(micro_batch.units) for micro_batch in micro_batches]
    assert sum(len(each.first) for each in mixtures if each is not None) == 24
    supervised = sum(len(micro_batch.batch.targets) for micro_batch in micro_batches)
    assert supervised == sum(piece.supervised_count for piece in pieces)
    if tokens >= 60:  # enough for the longest pair
        assert all(micro_batch.batch.input_ids.numel() <= tokens for micro_batch in micro_batches)


@given(number=st.integers(1, 150), half=st.integers(1, 6), seed=st.integers(0, 9))
def test_every_example_is_paired_once_with_one_of_the_other_half(number: int, half: int, seed: int) -> None:
    examples = [EncodedExample([0] * (2 + index % 17), 1) for index in range(number)]
    halves = examples[: number // 2], examples[number // 2 :]
    batches = paired_batches(*halves, batch_size=2 * half, alpha=0.5, seed=seed)
    pieces = list(chain(*batches))
    assert sorted(map(id, members(pieces))) == sorted(map(id, examples))
    assert sum(not is_pair(piece) for piece in pieces) == number % 2
    confident, unconfident = ({id(example) for example in part} for part in halves)
    pairs = list(filter(is_pair, pieces))
    assert all(id(each.examples[0]) in confident and id(each.examples[1]) in unconfident for each in pairs)
    assert all(isinstance(each.note, float) and 0 <= each.note <= 1 for each in pairs)
    assert len(batches) == math.ceil(number / (2 * half))
    assert all(len(members(batch)) <= 2 * half for batch in batches)


def test_batches_hold_like_lengths_and_follow_from_the_seed() -> None:
    halves = random_examples(*range(3, 103)), random_examples(*range(4, 104))
    first, again, other = (paired_batches(*halves, batch_size=16, alpha=0.5, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    spans = [max(lengths) - min(lengths) for batch in first if (lengths := [len(e.input_ids) for e in members(batch)])]
    assert sum(spans) / len(spans) < 25
    # At random a step holds any lengths, and as many examples.
    random_first = paired_batches(*halves, batch_size=16, alpha=0.5, seed=0, by_length=False)
    spans = [
        max(lengths) - min(lengths) for batch in random_first if (lengths := [len(e.input_ids) for e in members(batch)])
    ]
    assert sum(spans) / len(spans) > 60
    assert len(random_first) == len(first)


@pytest.mark.parametrize(("alpha", "deviation"), [(0.5, 0.354), (10.0, 0.109)])
def test_shares_follow_the_beta_distribution(alpha: float, deviation: float) -> None:
    halves = [[EncodedExample([0, 1], 1)] * 2000] * 2
    batches = paired_batches(*halves, batch_size=16, alpha=alpha, seed=0)
    shares = torch.tensor([piece.note for piece in chain(*batches) if is_pair(piece)])
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(shares.std()) == pytest.approx(deviation, rel=0.05)
