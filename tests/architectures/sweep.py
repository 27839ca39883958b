"""What is measured of each architecture, by the code that trains: one cell of the support matrix per question."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, collate
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.models.heads import decoder_and_head
from response_tuning.support.errors import UserError
from response_tuning.training.batches.packing import collate_packed, decide_packing
from response_tuning.training.targets import coverage
from response_tuning.training.training_config import AdapterOptions, BatchOptions, MemoryOptions
from response_tuning.training.tuning import make_trainable

from tests.architectures.small_models import VOCABULARY, small_model

__all__ = ["COLUMNS", "examine"]

CLOSE = 1e-5
COLUMNS = ("loss and gradients", "LoRA", "DoRA", "packing", "gradient checkpointing")


def examples() -> list[EncodedExample]:
    """Four examples of different lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = ((5, 12), (3, 20), (4, 9), (6, 17))
    return [
        EncodedExample(torch.randint(3, VOCABULARY, (length,), generator=generator).tolist(), prompt)
        for prompt, length in lengths
    ]


def examine(name: str) -> dict[str, str]:
    """The cells of an architecture: "right", a number, or why not."""
    cells = {"loss and gradients": cell(lambda: loss_and_gradients(name))}
    for tuning in ("lora", "dora"):
        cells["LoRA" if tuning == "lora" else "DoRA"] = cell(lambda tuning=tuning: adapted(name, tuning))  # type: ignore[misc]
    cells["packing"] = cell(lambda: packing(name))
    cells["gradient checkpointing"] = cell(lambda: checkpointing(name))
    return cells


def cell(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except UserError as error:
        return f"refused: {error}"


def loss_and_gradients(name: str) -> str:
    """Full tuning: the loss per token and every gradient against the model's own forward pass."""
    model, batch = small_model(name), collate(examples())
    ResponseLoss(model).check(batch)
    model.requires_grad_(True)
    ours = ResponseLoss(model)(batch)
    found = gradients(model, ours)
    own = own_losses(model, batch)
    assert close(ours, own), f"loss {float((ours - own).abs().max()):.1e}"
    expected = gradients(model, own)
    wrong = [key for key in expected if not close(found[key], expected[key])]
    assert not wrong, f"gradients {wrong[:3]}"
    return "right"


def adapted(name: str, tuning: Any) -> str:
    """Every adapter gets a gradient, the same as by the model's own loss, and merging it gives the same logits."""
    torch.manual_seed(1)
    batch = collate(examples())
    base = small_model(name).requires_grad_(False)
    model = make_trainable(base, AdapterOptions(tuning=tuning, lora_rank=4), MemoryOptions(), torch.device("cpu"))
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.requires_grad and "lora_B" in key:
                weight.normal_(std=0.05)
    covered = coverage(model)
    ours = ResponseLoss(model)(batch)
    found = gradients(model, ours)
    own = own_losses(model, batch)
    assert close(ours, own), f"loss {float((ours - own).abs().max()):.1e}"
    expected = gradients(model, own)
    wrong = [key for key in expected if not close(found[key], expected[key])]
    assert not wrong, f"gradients {wrong[:3]}"
    idle = [key for key, gradient in found.items() if not gradient.any()]
    assert not idle, f"no gradient {idle[:3]}"
    with torch.no_grad():
        before = model(input_ids=batch.input_ids, use_cache=False).logits
        merged: Any = model.merge_and_unload()  # type: ignore[operator]
        after = merged(input_ids=batch.input_ids, use_cache=False).logits
    assert close(before, after, 1e-4), f"merged {float((before - after).abs().max()):.1e}"
    return f"{covered.share:.0%}"


def packing(name: str) -> str:
    """Packed rows give the losses and gradients of padded ones, or are not used."""
    model = small_model(name).requires_grad_(False)
    some = examples()
    try:
        decide_packing(model, some, BatchOptions(packing="on"), seed=0)
    except UserError as error:
        reason = str(error).split(": ", 1)[1].removesuffix(" Choose --packing off or auto.")
        return f"padded: {reason}"
    model.requires_grad_(True)
    padded, packed = collate(some), collate_packed(some)
    first, second = ResponseLoss(model)(padded), ResponseLoss(model)(packed)
    assert close(first, second), f"packed loss {float((first - second).abs().max()):.1e}"
    found, expected = gradients(model, second), gradients(model, first)
    wrong = [key for key in expected if not close(found[key], expected[key])]
    assert not wrong, f"packed gradients {wrong[:3]}"
    return "right"


def checkpointing(name: str) -> str:
    batch = collate(examples())
    kept = []
    for recompute in (False, True):
        memory = MemoryOptions(gradient_checkpointing=recompute)
        model = make_trainable(small_model(name), AdapterOptions(tuning="full"), memory, torch.device("cpu"))
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        kept.append(gradients(model, ResponseLoss(model)(batch)))
    wrong = [key for key in kept[0] if not close(kept[1][key], kept[0][key])]
    assert not wrong, f"gradients {wrong[:3]}"
    return "right"


def gradients(model: nn.Module, losses: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    losses.sum().backward()
    return {
        key: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for key, weight in model.named_parameters()
        if weight.requires_grad
    }


def own_losses(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(input_ids=batch.input_ids, use_cache=False).logits
    return cross_entropy(logits.flatten(0, 1)[batch.predicting_positions].float(), batch.targets, reduction="none")


def close(found: Tensor, expected: Tensor, tolerance: float = CLOSE) -> bool:
    """Whether two tensors differ by at most ``tolerance`` of the largest value, or of 1 if that is larger."""
    largest = max(1.0, float(expected.abs().max()))
    return bool((found - expected).abs().max() <= tolerance * largest)
