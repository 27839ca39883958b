"""Attention by the bounds of examples, against SDPA's mask; torch's kernel itself needs a GPU, its arguments do not."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from response_tuning.conversation import EncodedExample
from response_tuning.example import Example, write_examples
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.kernels import packed_attention, varlen_attention
from response_tuning.kernels.packed_attention import attend_within_examples, attention_of, use_attention_of
from response_tuning.kernels.varlen_attention import varlen_obstacle
from response_tuning.support.errors import UserError
from response_tuning.training.batches import packing
from response_tuning.training.batches.packing import collate_packed, decide_packing, obstacle
from response_tuning.training.trainer import train
from response_tuning.training.training_config import BatchOptions, TrainingConfig
from tests.architectures.small_models import VOCABULARY, small_model

_NAMES = ("llama", "gemma3_text", "qwen3", "mistral")
"""Gemma's and Mistral's windows are 16 tokens wide, shorter than an example here."""


@pytest.fixture(autouse=True)
def _varlen_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU that has it."""
    monkeypatch.setattr(packed_attention, "varlen_obstacle", lambda *_arguments: None)


def examples() -> list[EncodedExample]:
    generator = torch.Generator().manual_seed(3)
    lengths = (40, 7, 25, 1 + 16, 2)
    return [
        EncodedExample(torch.randint(3, VOCABULARY, (length,), generator=generator).tolist(), 1) for length in lengths
    ]


def losses_and_gradients(model: nn.Module) -> list[Tensor]:
    for parameter in model.parameters():
        parameter.requires_grad_()
        parameter.grad = None
    losses = ResponseLoss(model)(collate_packed(examples()))
    losses.mean().backward()
    return [losses.detach(), *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", _NAMES)
def test_losses_and_gradients_are_those_of_a_mask(name: str, checkpointing: bool) -> None:
    """Recomputed layers, too, know the bounds."""
    model = small_model(name)
    expected = losses_and_gradients(model)
    assert attend_within_examples(model, attention="varlen")
    if checkpointing:
        model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    found = losses_and_gradients(model)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_no_mask_is_made_for_a_packed_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("gemma3_text")
    attend_within_examples(model, attention="varlen")
    masks: list[Tensor | None] = []
    made = varlen_attention._mask

    def noted(*arguments: Any, **options: Any) -> Tensor | None:
        masks.append(made(*arguments, **options))
        return masks[-1]

    monkeypatch.setattr(varlen_attention, "_mask", noted)
    varlen_attention.register_varlen()
    losses_and_gradients(model)
    assert masks
    assert all(mask is None for mask in masks)


@pytest.mark.parametrize(("name", "window"), [("llama", (-1, 0)), ("mistral", (15, 0))])
def test_torchs_kernel_gets_the_bounds_and_the_window(
    monkeypatch: pytest.MonkeyPatch, name: str, window: tuple[int, int]
) -> None:
    """Of ``varlen_attn``, in place of which the same is computed example by example."""
    calls: list[dict[str, Any]] = []

    def varlen_attn(
        query: Tensor, key: Tensor, value: Tensor, first: Tensor, second: Tensor, *most: int, **options: Any
    ) -> Tensor:
        calls.append({"bounds": (first.tolist(), second.tolist()), "longest": most, "shape": query.shape, **options})
        left = options["window_size"][0]
        return varlen_attention._attend_one_by_one(
            query, key, value, first, scale=options["scale"], window=None if left < 0 else left + 1
        )

    expected = losses_and_gradients(small_model(name))
    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", varlen_attn)
    monkeypatch.setattr(varlen_attention, "_has_kernel", lambda _query: True)
    model = small_model(name)
    attend_within_examples(model, attention="varlen")
    found = losses_and_gradients(model)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    bounds = [0, 40, 47, 72, 89, 91, 96]
    assert len(calls) == 2
    for call in calls:
        assert call["bounds"] == (bounds, bounds)
        assert call["longest"] == (40, 40)
        assert call["window_size"] == window
        assert call["enable_gqa"] is True
        assert call["shape"] == (96, 4, 8)


def test_padded_batches_and_generation_are_those_of_sdpa() -> None:
    model = small_model("gemma3_text")
    ids = torch.randint(3, VOCABULARY, (2, 30))
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).logits[:, 9:]
        tokens = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5)  # type: ignore[operator]
        attend_within_examples(model, attention="varlen")
        torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits[:, 9:], expected)
        assert torch.equal(
            model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5),  # type: ignore[operator]
            tokens,
        )


def test_a_cap_of_the_scores_is_refused() -> None:
    model = small_model("gemma2")
    attend_within_examples(model, attention="varlen")
    assert "softcap" in (obstacle(model, examples()) or "")
    with pytest.raises(UserError, match="softcap"):
        decide_packing(model, examples(), BatchOptions(packing="on"), seed=0, attention="varlen")


def test_auto_takes_a_mask_where_varlen_does_not_compute_an_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_on_a_gpu(model: nn.Module, *_arguments: object) -> bool:
        use_attention_of(model, "varlen")
        return True

    monkeypatch.setattr(varlen_attention, "_NOT_COMPUTED", ("scaling",))
    monkeypatch.setattr(packing, "attend_within_examples", as_on_a_gpu)
    model = small_model("llama")
    assert decide_packing(model, examples(), BatchOptions(packing="on"), seed=0)
    assert attention_of(model) == "sdpa"


def test_a_model_that_drops_the_bounds_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a mask its examples would see each other."""
    model = small_model("llama")
    attend_within_examples(model, attention="varlen")
    decoder = model.get_decoder()
    forward = decoder.forward

    def without_bounds(**options: Any) -> Any:
        return forward(**{name: value for name, value in options.items() if "seq_lens" not in name})

    monkeypatch.setattr(decoder, "forward", without_bounds)
    with pytest.raises(NotImplementedError, match="bounds"):
        losses_and_gradients(model)


def test_what_cannot_be_used_is_refused_with_its_reason() -> None:
    device = torch.device("cpu")
    assert varlen_obstacle(small_model("llama"), device, torch.bfloat16) == "it needs a CUDA GPU"
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="--attention flash cannot be used here"):
            attend_within_examples(small_model("llama"), attention="flash")


@pytest.mark.parametrize(
    ("capability", "dtype", "changes", "reason"),
    [
        ((8, 0), torch.bfloat16, {}, None),
        ((7, 5), torch.bfloat16, {}, "8.0"),
        ((9, 0), torch.float32, {}, "bfloat16"),
        ((9, 0), torch.bfloat16, {"head_dim": 512}, "wide"),
        ((9, 0), torch.bfloat16, {"attention_chunk_size": 64}, "chunks"),
        ((9, 0), torch.bfloat16, {"attention_dropout": 0.1}, "dropout"),
    ],
)
def test_the_gpu_the_dtype_and_the_model_decide(
    monkeypatch: pytest.MonkeyPatch,
    capability: tuple[int, int],
    dtype: torch.dtype,
    changes: dict[str, float],
    reason: str | None,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    model = small_model("llama")
    for name, value in changes.items():
        setattr(model.config, name, value)
    found = varlen_obstacle(model, torch.device("cuda"), dtype)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


def test_training_by_bounds_is_training_with_a_mask(
    tmp_path: Path, model_folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same losses to 1e-5, and ``--attention`` is no other run."""
    data = tmp_path / "data.jsonl"
    write_examples(data, examples[:6])
    losses: dict[str, list[float]] = {}
    for attention in ("sdpa", "varlen"):
        rows: list[dict[str, Any]] = []
        config = TrainingConfig(
            output=tmp_path / attention,
            model=str(model_folder),
            data=str(data),
            dtype="float32",
            device="cpu",
            packing="on",
            epochs=1,
            batch_size=3,
            attention=attention,
        )
        monkeypatch.setattr(varlen_attention, "_has_kernel", lambda _query: False)
        train(config, on_step=rows.append)
        losses[attention] = [row["loss"] for row in rows]
    assert losses["varlen"] == pytest.approx(losses["sdpa"], rel=1e-5)
