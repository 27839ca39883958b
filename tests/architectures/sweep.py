"""What is measured of each architecture, by the code that trains: one cell of the support matrix per question."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tokenizers import Tokenizer, decoders, models
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import Batch, collate
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.models.load import load_model
from response_tuning.support.errors import UserError
from response_tuning.training import trainer
from response_tuning.training.batches.packing import collate_packed, decide_packing
from response_tuning.training.loop import run_steps
from response_tuning.training.step import Training
from response_tuning.training.targets import coverage
from response_tuning.training.trainer import train
from response_tuning.training.training_config import AdapterOptions, BatchOptions, MemoryOptions, TrainingConfig
from response_tuning.training.tuning import load_base, make_trainable
from tests.architectures.small_models import VOCABULARY, small_model

__all__ = ["COLUMNS", "examine"]

CLOSE = 1e-5
TUNINGS: dict[str, Any] = {"LoRA": "lora", "DoRA": "dora", "QLoRA": "qlora"}
COLUMNS = ("loss and gradients", *TUNINGS, "packing", "gradient checkpointing", "saved and loaded")
SHORT = {"cannot recompute its": "cannot recompute", "cannot compute with ": "reads packed weights"}
"""The beginnings of refusals without the model's class, and what the table shows."""
CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]


def examples() -> list[EncodedExample]:
    """Four examples of different lengths."""
    generator = torch.Generator().manual_seed(0)
    lengths = ((5, 12), (3, 20), (4, 9), (6, 17))
    return [
        EncodedExample(torch.randint(3, VOCABULARY, (length,), generator=generator).tolist(), prompt)
        for prompt, length in lengths
    ]


def examine(name: str, folder: Path) -> dict[str, str]:
    """The cells of an architecture: "right", the share of the layers' weights that train, or why not.

    Raises:
        AssertionError: something is computed otherwise than by transformers.
    """
    cells = {"loss and gradients": cell(lambda: loss_and_gradients(name))}
    if cells["loss and gradients"] != "right":
        return cells | dict.fromkeys(COLUMNS[1:], "")
    return {
        **cells,
        "LoRA": cell(lambda: adapted(name, "lora")),
        "DoRA": cell(lambda: adapted(name, "dora")),
        "QLoRA": cell(lambda: over_four_bits(name, folder / "base")),
        "packing": cell(lambda: packing(name)),
        "gradient checkpointing": cell(lambda: checkpointing(name)),
        "saved and loaded": cell(lambda: saved_and_loaded(name, folder)),
    }


def cell(measure: Callable[[], str]) -> str:
    try:
        return measure()
    except UserError as error:
        return f"refused: {SHORT.get(str(error).split(' ', 1)[1][:20], error)}"


def over_four_bits(name: str, folder: Path) -> str:
    """Adapters over 4-bit weights get gradients; how many of the layers' weights have one."""
    if find_spec("bitsandbytes") is None:
        return "not tried"
    save_base(name, folder)
    base = load_base(str(folder), "qlora", dtype="float32", device="cpu").model
    model = make_trainable(base, AdapterOptions(tuning="qlora", lora_rank=4), MemoryOptions(), torch.device("cpu"))
    losses = ResponseLoss(model)(collate(examples()))
    assert bool(losses.isfinite().all()), "loss"
    found = gradients(model, losses)
    idle = [key for key, gradient in found.items() if "lora_B" in key and not gradient.any()]
    assert not idle, f"no gradient {idle[:3]}"
    return f"{coverage(model).fraction:.0%}"


def saved_and_loaded(name: str, folder: Path) -> str:
    """Trained in memory = loaded from disk, for an adapter and for all weights: the logits of one prompt."""
    folder.mkdir(parents=True, exist_ok=True)
    save_base(name, folder / "base")
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps({"completion": f"Answer {index}."}) + "\n" for index in range(4)))
    prompt = torch.tensor([[1, *range(10, 30)]])
    for tuning in ("lora", "full"):
        kept: list[Tensor] = []

        def run_and_keep(training: Training, *others: Any, kept: list[Tensor] = kept) -> None:
            run_steps(training, *others)
            training.model.eval()
            with torch.no_grad():
                kept.append(training.model(input_ids=prompt, use_cache=False).logits)

        with patch.object(trainer, "run_steps", run_and_keep):
            run = train(
                TrainingConfig(
                    output=folder / tuning,
                    model=str(folder / "base"),
                    data=str(data),
                    tuning=tuning,
                    epochs=1,
                    learning_rate=1e-2,
                    dtype="float32",
                    device="cpu",
                )
            )
        loaded = load_model(str(run.path), dtype="float32", device="cpu").model
        with torch.no_grad():
            found = loaded(input_ids=prompt, use_cache=False).logits
            before = small_model(name)(input_ids=prompt, use_cache=False).logits
        assert close(found, kept[0], 1e-4), f"{tuning}: {float((found - kept[0]).abs().max()):.1e}"
        assert not close(found, before, 1e-4), f"{tuning} trained nothing"
    return "right"


def save_base(name: str, folder: Path) -> None:
    """The small model with a tokenizer of single characters."""
    if not folder.exists():
        small_model(name).save_pretrained(str(folder))
        vocabulary = {token: index for index, token in enumerate(["<pad>", "<s>", "</s>", *CHARACTERS])}
        backend = Tokenizer(models.BPE(vocabulary, []))
        backend.decoder = decoders.Fuse()
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
        ).save_pretrained(str(folder))


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
    return f"{covered.fraction:.0%}"


def packing(name: str) -> str:
    """Packed rows give the losses and gradients of padded ones, or are not used."""
    model = small_model(name).requires_grad_(False)
    some = examples()
    try:
        decide_packing(model, some, BatchOptions(packing="on"), seed=0)
    except UserError as error:
        return "padded: no positions" if "takes no positions" in str(error) else "padded: rows differ"
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
    largest = max(1.0, float(expected.detach().abs().max()))
    return bool((found - expected).abs().max() <= tolerance * largest)
