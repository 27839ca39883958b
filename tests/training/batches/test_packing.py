"""Packing: nothing is lost, nothing leaks, and nothing but speed depends on it."""

import json
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from response_tuning.conversation import EncodedExample
from response_tuning.example import Example, write_examples
from response_tuning.inference.batch import Batch, collate
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.kernels import packed_attention
from response_tuning.kernels.packed_attention import attend_within_examples
from response_tuning.support.configuration import changed, read_values
from response_tuning.support.errors import UserError
from response_tuning.training import step as training_step
from response_tuning.training.batches import packing
from response_tuning.training.batches.batching import units
from response_tuning.training.batches.packing import (
    collate_packed,
    decide_packing,
    obstacle,
    pack,
    parts_of,
)
from response_tuning.training.trainer import train
from response_tuning.training.training_config import BatchOptions, TrainingConfig
from tests.architectures.small_models import small_model

VOCABULARY = 97
WINDOW = 4
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "pad_token_id": None,
    "initializer_range": 0.3,
}
LAYERS = ["sliding_attention", "full_attention"]
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=WINDOW)),
    "gemma 2": lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, sliding_window=WINDOW, layer_types=LAYERS)),
    "gemma 3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, sliding_window=WINDOW, layer_types=LAYERS)),
}
WAYS = [
    *[(name, "within examples") for name in ("llama", "mistral", "gemma 3")],
    *[(name, "sdpa") for name in ("llama", "mistral", "gemma 3")],
    *[(name, "eager") for name in MODELS],
]
"""Architectures and ways of attention; Gemma 2 caps its attention's logits, which SDPA cannot."""


def random_model(name: str, attention: str = "sdpa") -> PreTrainedModel:
    torch.manual_seed(0)
    model = MODELS[name]()
    model.eval()
    if attention == "within examples":
        assert attend_within_examples(model)
    else:
        model.set_attn_implementation(attention)
    return model


def random_examples(*lengths: int) -> list[EncodedExample]:
    """Examples of random ids, half of each a prompt."""
    torch.manual_seed(1)
    return [
        EncodedExample(torch.randint(VOCABULARY, (length,)).tolist(), prompt_length=(length + 1) // 2)
        for length in lengths
    ]


def numbered(lengths: Sequence[int]) -> list[EncodedExample]:
    """Examples that can be told from each other by their first id."""
    return [EncodedExample([number] * length, prompt_length=1) for number, length in enumerate(lengths)]


def losses_and_gradients(model: PreTrainedModel, examples: list[EncodedExample], *, packed: bool) -> list[Tensor]:
    """The loss of every supervised token, example by example, and the gradient of every weight."""
    model.zero_grad()
    if packed:
        losses = ResponseLoss(model)(collate_packed(examples))
    else:
        losses = torch.cat([ResponseLoss(model)(collate([example])) for example in examples])
    losses.sum().backward()
    return [
        losses.detach(),
        *[parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None],
    ]


def packed_bins(lengths: Sequence[int], *, tokens: int) -> list[list[EncodedExample]]:
    bins = pack(units(numbered(lengths)), tokens=tokens)
    return [[example for unit in part for example in unit.examples] for part in bins]


sizes = st.lists(st.integers(min_value=2, max_value=50), min_size=1, max_size=60)


@given(lengths=sizes, tokens=st.integers(min_value=1, max_value=120))
def test_bins_hold_every_example_once_within_the_token_limit(lengths: list[int], tokens: int) -> None:
    bins = packed_bins(lengths, tokens=tokens)
    assert sorted(example.input_ids[0] for part in bins for example in part) == list(range(len(lengths)))
    for part in bins:
        assert len(part) == 1 or sum(len(example.input_ids) for example in part) <= tokens


@given(lengths=sizes, tokens=st.integers(min_value=1, max_value=120))
def test_no_two_bins_would_fit_into_one(lengths: list[int], tokens: int) -> None:
    filled = [sum(len(example.input_ids) for example in part) for part in packed_bins(lengths, tokens=tokens)]
    assert all(first + second > tokens for first, second in combinations(filled, 2))


@given(
    bins=st.lists(st.integers(min_value=0, max_value=20), min_size=1, max_size=12),
    data=st.data(),
)
def test_bins_are_few(bins: list[int], data: st.DataObject) -> None:
    """Bins of 40 tokens are cut at random, so that one knows how few would do; the bound is Johnson's."""
    lengths = [piece for cut in bins for piece in (cut, 40 - cut) if piece >= 2]
    shuffled = data.draw(st.permutations(lengths))
    assert len(packed_bins(shuffled, tokens=40)) <= 11 / 9 * len(bins) + 1


def test_the_fullest_bin_with_room_takes_an_example() -> None:
    bins = packed_bins([5, 7, 3, 4, 1], tokens=10)
    assert [[len(example.input_ids) for example in part] for part in bins] == [[7, 3], [5, 4, 1]]


def test_a_packed_row_holds_positions_that_restart_and_predicts_within_examples() -> None:
    batch = collate_packed(
        [EncodedExample([5, 6, 7, 8], 2), EncodedExample([9, 10], 1), EncodedExample([11, 12, 13], 1)]
    )
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 10, 11, 12, 13, *(23 * [5])]]
    assert batch.position_ids is not None
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 0, 1, 2, *range(23)]]
    assert batch.predicting_positions.tolist() == [1, 2, 4, 6, 7]
    assert batch.targets.tolist() == [7, 8, 10, 12, 13]
    assert batch.rows.tolist() == [0, 0, 1, 2, 2]


def test_rows_of_many_lengths_have_few_shapes() -> None:
    rows = [collate_packed(random_examples(length)) for length in range(2, 161)]
    assert {row.input_ids.shape[1] for row in rows} == {32, 64, 96, 128, 160}


@given(lengths=sizes)
def test_a_packed_row_supervises_what_padded_rows_do(lengths: list[int]) -> None:
    examples = random_examples(*lengths)
    packed, padded = collate_packed(examples), collate(examples)
    assert packed.targets.tolist() == padded.targets.tolist()
    assert packed.rows.tolist() == padded.rows.tolist()


@pytest.mark.parametrize(("name", "attention"), WAYS)
def test_packed_losses_and_gradients_are_those_of_each_example_alone(name: str, attention: str) -> None:
    model, examples = random_model(name, attention), random_examples(9, 2, 17, 3, 12)
    alone = losses_and_gradients(model, examples, packed=False)
    packed = losses_and_gradients(model, examples, packed=True)
    assert len(alone) == len(packed) > 10
    for expected, found in zip(alone, packed, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize(("name", "attention"), [way for way in WAYS if way[1] != "within examples"])
def test_an_all_ones_mask_would_leak(name: str, attention: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above and the check before training are there to find."""
    model, examples = random_model(name, attention), random_examples(9, 2, 17, 3, 12)
    apart = ResponseLoss(model)(collate_packed(examples))
    assert obstacle(model, examples) is None
    see_everything(model, monkeypatch)
    leaking = ResponseLoss(model)(collate_packed(examples))
    assert torch.allclose(leaking[:4], apart[:4], atol=1e-4), "the first example has nothing before it"
    assert (leaking[4:] - apart[4:]).abs().max() > 0.1
    assert "lets one example of a packed row change another" in str(obstacle(model, examples))


def see_everything(model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the decoder the mask of ones that a usual data collator makes."""
    decoder = model.base_model
    forward = decoder.forward

    def masked(input_ids: Tensor, position_ids: Tensor | None = None, **options: Any) -> Any:
        return forward(
            input_ids=input_ids, position_ids=position_ids, attention_mask=torch.ones_like(input_ids), **options
        )

    monkeypatch.setattr(decoder, "forward", masked)


def test_a_window_shorter_than_an_example_stays_in_force() -> None:
    """A token is out of reach of another two windows on: 2 layers of 4 tokens, of which one slides."""
    narrow, wide = (MistralConfig(**SHAPE, sliding_window=window) for window in (WINDOW, 64))
    losses = []
    for config in (narrow, wide):
        torch.manual_seed(0)
        model = MistralForCausalLM(config).eval()
        assert attend_within_examples(model)
        losses.append(ResponseLoss(model)(collate_packed(random_examples(20, 30))))
    assert (losses[0] - losses[1]).abs().max() > 0.1


@pytest.mark.parametrize("lengths", [(1, 2, 3), (40, 30, 29, 7, 1), (60,), (12, 12)])
def test_plain_products_attend_as_sdpa_does(lengths: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("gemma 3")
    assert attend_within_examples(model)
    row = collate_packed(random_examples(*lengths) * 2)
    products = gradients_of(model, row)
    monkeypatch.setattr(packed_attention, "_SHORT_TOKENS", 0)
    for by_products, by_sdpa in zip(products, gradients_of(model, row), strict=True):
        torch.testing.assert_close(by_products, by_sdpa, rtol=1e-3, atol=1e-4)


def gradients_of(model: nn.Module, batch: Batch) -> list[Tensor]:
    model.zero_grad()
    ResponseLoss(model)(batch).sum().backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_attention_within_examples_leaves_padded_batches_as_they_are() -> None:
    model, examples = random_model("gemma 3"), random_examples(9, 2, 17)
    before = ResponseLoss(model)(collate(examples))
    assert attend_within_examples(model)
    assert torch.equal(ResponseLoss(model)(collate(examples)), before)


def test_a_model_with_memory_that_no_position_resets_is_found_out() -> None:
    torch.manual_seed(0)
    config = Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])
    reason = obstacle(Lfm2ForCausalLM(config).eval(), random_examples(9, 12, 5))
    assert reason == "Lfm2Model lets one example of a packed row change another"


@pytest.mark.parametrize("name", ["recurrent_gemma", "falcon_h1", "qwen3_next"])
@pytest.mark.parametrize("seed", range(3))
def test_a_leak_is_found_in_bf16_with_any_weights(name: str, seed: int) -> None:
    """A leak moves hidden states no further than rounding does, so the bits are compared."""
    model = small_model(name)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.02)
    reason = obstacle(model.bfloat16(), random_examples(9, 12, 5))
    assert reason is not None
    assert "lets one example of a packed row change another" in reason


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "qwen3", "deepseek_v3", "cohere2"])
def test_a_model_that_does_not_leak_passes_in_bf16(name: str) -> None:
    model = small_model(name).bfloat16()
    attend_within_examples(model)
    assert obstacle(model, random_examples(9, 12, 5)) is None


def test_values_narrower_than_keys_are_attended_to_as_in_padded_rows() -> None:
    model, examples = small_model("deepseek_v2"), random_examples(9, 12, 5)
    padded = losses_and_gradients(model, examples, packed=False)
    assert attend_within_examples(model)
    for found, expected in zip(losses_and_gradients(model, examples, packed=True), padded, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_model_without_positions_is_found_out() -> None:
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, state_size=4)
    reason = obstacle(MambaForCausalLM(config).eval(), random_examples(9, 12))
    assert reason == "MambaModel takes no positions, which would tell it where an example begins"


def test_a_single_example_is_enough_to_try_out() -> None:
    assert obstacle(random_model("llama"), random_examples(2)) is None


def config_with(output: Path, **options: Any) -> TrainingConfig:
    return TrainingConfig.model_validate({"output": output, "device": "cpu", "dtype": "float32", **options})


def test_packing_that_cannot_be_is_refused_or_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    config = Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"])
    model, examples = Lfm2ForCausalLM(config).eval(), random_examples(9, 12, 5)
    with pytest.raises(UserError, match="cannot be packed: Lfm2Model lets one example"):
        decide_packing(model, examples, BatchOptions(packing="on"), seed=0)
    assert not decide_packing(model, examples, BatchOptions(), seed=0)
    assert "padded batches: Lfm2Model lets one example" in capsys.readouterr().err


def test_a_refusal_leaves_no_run_behind(config: TrainingConfig, tmp_path: Path, model_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.save_pretrained(tmp_path / "lfm2")
    shape = {**SHAPE, "vocab_size": len(tokenizer), "max_position_embeddings": 1024}
    Lfm2ForCausalLM(Lfm2Config(**shape, layer_types=["conv", "full_attention"])).save_pretrained(tmp_path / "lfm2")
    with pytest.raises(UserError, match="Examples cannot be packed"):
        trained(config, model=str(tmp_path / "lfm2"), packing="on")
    assert not config.output.exists()
    assert trained(config, model=str(tmp_path / "lfm2"), packing="auto")


def test_generation_goes_on_with_attention_within_examples() -> None:
    model: Any = random_model("gemma 3")
    prompt, options = torch.arange(9)[None, :], {"max_new_tokens": 12, "do_sample": False}
    expected = model.generate(prompt, **options)
    assert attend_within_examples(model)
    assert torch.equal(model.generate(prompt, **options), expected)


def test_auto_packs_where_padding_is_much_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert decide_packing(random_model("llama"), random_examples(*[5, 60] * 8), BatchOptions(batch_size=16), seed=0)
    assert "packed rows: " in capsys.readouterr().err


def test_auto_pads_where_a_mask_would_cost_more(capsys: pytest.CaptureFixture[str]) -> None:
    """Equal lengths need no padding, and a row of eight multiplies every example with seven others in vain."""
    examples = random_examples(*[60] * 8)
    assert not decide_packing(random_model("llama", "eager"), examples, BatchOptions(batch_size=8), seed=0)
    assert "more operations" in capsys.readouterr().err


def test_operations_are_counted_as_by_hand() -> None:
    model, examples = random_model("llama"), random_examples(10, 6)
    weights = sum(parameter.numel() for name, parameter in model.model.named_parameters() if "embed" not in name)
    options, query = BatchOptions(batch_size=2), 2 * 4 * 8
    counted = [
        packing._operations(model, examples, options, seed=0, packed=packed, within=within)
        for packed, within in ((False, True), (True, False), (True, True))
    ]
    by_hand = [(20, 2 * 10**2), (32, 32**2), (32, 10**2 + 6**2 + 16**2)]
    assert counted == [2 * weights * tokens + 4 * query * pairs for tokens, pairs in by_hand]


def test_a_bare_on_in_yaml_is_meant_as_the_word(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("packing: on\n")
    assert read_values(tmp_path / "config.yaml", TrainingConfig) == {"packing": "on"}


@pytest.fixture
def config(tmp_path: Path, examples: list[Example], model_folder: Path) -> TrainingConfig:
    """A short fp32 training of the tiny model on twelve real pairs."""
    write_examples(tmp_path / "data.jsonl", examples[:12])
    return config_with(
        tmp_path / "run", model=str(model_folder), data=str(tmp_path / "data.jsonl"), epochs=2, learning_rate=1e-2
    )


def trained(config: TrainingConfig, **changes: Any) -> dict[str, Tensor]:
    """The weights that a training with some options changed has saved."""
    run = train(changed(config, **changes))
    return load_file(next(run.path.glob("*/*model.safetensors")))


def losses_of(output: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (output / "training.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.1},
        {"gradient_checkpointing": True},
        {"micro_batch_tokens": 300},
        {"tuning": "full"},
        {"tuning": "full", "gradient_checkpointing": True},
    ],
)
def test_training_packed_is_training_padded(config: TrainingConfig, tmp_path: Path, options: dict[str, Any]) -> None:
    padded = trained(config, output=tmp_path / "padded", packing="off", **options)
    packed = trained(config, output=tmp_path / "packed", packing="on", **options)
    assert losses_of(tmp_path / "packed") == pytest.approx(losses_of(tmp_path / "padded"), rel=1e-5)
    assert padded.keys() == packed.keys()
    for name in padded:
        # AdamW divides by a gradient's size, so where that is next to nothing its rounding decides about a whole step:
        # a weight or two may go another way.
        assert (packed[name] - padded[name]).norm() < 0.01 * padded[name].norm()


def test_packed_noise_repeats_itself(config: TrainingConfig, tmp_path: Path) -> None:
    options = {"packing": "on", "neftune_alpha": 5.0}
    first, again = (trained(config, output=tmp_path / name, **options) for name in ("first", "again"))
    plain = trained(config, packing="on")
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], plain[name]) for name in first)


def test_training_goes_on_as_it_began_whatever_auto_means_by_then(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(config, output=tmp_path / "whole", packing="off")
    seen: list[bool] = []

    def noted(*arguments: Any, packed: bool, **options: Any) -> Any:
        seen.append(packed)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return parts_of(*arguments, packed=packed, **options)

    monkeypatch.setattr(training_step, "parts_of", noted)
    monkeypatch.setattr(packing, "_operations", lambda *_arguments, packed, **_options: 2 if packed else 1)
    with pytest.raises(KeyboardInterrupt):
        train(changed(config, checkpoint_every_seconds=0))
    monkeypatch.setattr(packing, "_operations", lambda *_arguments, packed, **_options: 1 if packed else 2)
    resumed = trained(config, checkpoint_every_seconds=0)
    assert len(seen) > 2
    assert not any(seen)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
