"""The loss layer alone, forward and backward, beside other ways to compute it: the same tokens, seconds and memory.

    pip install 'response-tuning[embedded,benchmark]'
    python benchmarks/loss.py --data ALPACA.jsonl DOLLY.jsonl
    python benchmarks/loss.py --shape 8192,4096,128256

The first form takes supervised tokens of real rows, with the model's own hidden states and head; the second random
ones of any shape. Each setting runs in a process of its own, at every number of tokens. On a GPU, Liger and
cut-cross-entropy are measured too where they are installed (extras liger and cut-cross-entropy).
"""

import functools
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import LinearCrossEntropyOptions
from torch.nn.functional import cross_entropy
from torch.nn.functional import linear_cross_entropy as torch_linear_cross_entropy

from measuring import ProductPeak, extra_memory, published_examples, run_in_own_process
from response_tuning.conversation import Conversation, default_format, encode_examples
from response_tuning.inference.batch import collate
from response_tuning.kernels.linear_cross_entropy import linear_cross_entropy, trained_linear_cross_entropy
from response_tuning.models.heads import decoder_and_head
from response_tuning.models.load import load_model
from response_tuning.support.files import write_json
from response_tuning.support.options import STARTER, LossKernel
from response_tuning.training.planning.timing import seconds_of

_WARM_UP_TOKENS = 8
_SECONDS = 10
_AGREEMENT = 0.01


class BenchmarkConfig(BaseModel):
    """Measure seconds and peak memory of the loss layer, beside other ways to compute it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = "embedded"
    """The base model."""
    data: tuple[str, ...] = (STARTER,)
    """The rows whose responses are predicted; each as for rt train, or a file with Alpaca's or Dolly's fields."""
    tokens: tuple[int, ...] = (512, 1024)
    """How many supervised tokens at once; everything is measured at each of these numbers."""
    shape: str | None = None
    """TOKENS,HIDDEN,VOCABULARY of random numbers in place of model and data; measured at half the tokens too."""
    leave_out: tuple[str, ...] = ()
    """Settings that are not measured, by their names in the table or a part of it; ours always are."""
    repeats: int = Field(default=3, ge=1)
    """Timed passes, after one that is not; fewer where they take longer than 10 seconds."""
    output: Path | None = None
    """A JSON file for the numbers."""
    inputs: Path | None = None
    """The file of hidden states, head and targets that a setting is measured on (written by this script itself)."""
    setting: str | None = None
    """Measure this one setting in this process, and print its numbers as JSON."""


@dataclass(frozen=True)
class Inputs:
    """What a loss is computed from."""

    hidden: Tensor
    """[tokens, hidden] in bf16, wants a gradient."""
    head: Tensor
    """[vocabulary, hidden], frozen in bf16 or trained in fp32."""
    targets: Tensor
    """[tokens]"""


@dataclass(frozen=True)
class Setting:
    """A way to compute the sum of losses."""

    loss: Callable[[Inputs], Tensor]
    trains_head: bool = False
    package: str | None = None
    """What has to be installed for it."""
    needs_cuda: bool = False


def main() -> int:
    """Run all settings, or one of them in this process."""
    config = tyro.cli(BenchmarkConfig)
    if config.setting is not None:
        print(json.dumps(_measure(config)))
        return 0
    left_out = {name: reason for name, setting in SETTINGS.items() if (reason := _missing(name, setting, config))}
    results = []
    with tempfile.TemporaryDirectory() as folder:
        shared = Path(folder) / "inputs.safetensors"
        lengths = _write_inputs(config, shared)
        for tokens in lengths:
            run = functools.partial(run_in_own_process, __file__, config=config, inputs=shared, tokens=tokens)
            results += [run(setting=name) for name in SETTINGS if name not in left_out]
    report = {
        "results": results,
        "left_out": left_out,
        "config": config.model_dump(mode="json", exclude={"inputs", "setting", "output"}),
        "versions": {name: found for name in ("torch", *_PACKAGES) if (found := _version(name))},
        "device": torch.cuda.get_device_name() if _device().type == "cuda" else f"{torch.get_num_threads()} threads",
    }
    _print(report)
    if config.output is not None:
        write_json(config.output, report)
    return 0


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _missing(name: str, setting: Setting, config: BenchmarkConfig) -> str | None:
    """Why a setting is not measured here."""
    if name not in (_OURS, _OURS_TRAINED) and any(part in name for part in config.leave_out):
        return "as asked for"
    if setting.needs_cuda and _device().type != "cuda":
        return "needs a CUDA GPU"
    if setting.package is not None and _version(setting.package) is None:
        return f"{setting.package} is not installed"
    return None


def _write_inputs(config: BenchmarkConfig, path: Path) -> list[int]:
    """Write the inputs of the largest measurement; returns all numbers of tokens."""
    if config.shape is not None:
        tokens, width, vocabulary = (int(size) for size in config.shape.split(","))
        torch.manual_seed(0)
        save_file(
            {
                "hidden": torch.randn(tokens, width).bfloat16(),
                "head": (torch.randn(vocabulary, width) / width**0.5).bfloat16(),
                "targets": torch.randint(vocabulary, (tokens,)),
            },
            path,
        )
        return [tokens // 2, tokens]
    save_file(_model_inputs(config), path)
    return sorted(config.tokens)


@torch.no_grad()
def _model_inputs(config: BenchmarkConfig) -> dict[str, Tensor]:
    """The supervised tokens of rows in random order, the hidden states before them, and the model's head."""
    loaded = load_model(config.model, dtype="bfloat16")
    conversation = Conversation(loaded.tokenizer, default_format(config.model))
    examples = [example for source in config.data for example in published_examples(source)]
    encoded, _ = encode_examples(examples, conversation, "rt", max_length=2048, overlong="drop")
    wanted = max(config.tokens)
    decoder, head = decoder_and_head(loaded.model)
    hidden: list[Tensor] = []
    targets: list[Tensor] = []
    for example in random.Random(0).sample(encoded, len(encoded)):
        batch = collate([example]).to(loaded.model.device)
        states = decoder(input_ids=batch.input_ids, use_cache=False).last_hidden_state
        hidden.append(states.flatten(0, 1)[batch.predicting_positions].cpu())
        targets.append(batch.targets.cpu())
        if sum(map(len, targets)) >= wanted:
            break
    else:
        raise SystemExit(f"The data have {sum(map(len, targets))} supervised tokens, fewer than {wanted}.")
    return {
        "hidden": torch.cat(hidden)[:wanted].bfloat16().contiguous(),
        "head": head.weight.detach().cpu().bfloat16().contiguous(),
        "targets": torch.cat(targets)[:wanted].contiguous(),
    }


def _measure(config: BenchmarkConfig) -> dict[str, Any]:
    device = _device()
    assert config.setting is not None
    assert config.inputs is not None
    (tokens,) = config.tokens
    setting = SETTINGS[config.setting]
    tensors = {name: tensor.to(device) for name, tensor in load_file(config.inputs).items()}
    head = tensors["head"]
    if setting.trains_head:
        head = head.float().requires_grad_()
    inputs = Inputs(tensors["hidden"][:tokens].clone().requires_grad_(), head, tensors["targets"][:tokens])
    few = Inputs(inputs.hidden.detach()[:_WARM_UP_TOKENS].requires_grad_(), head, inputs.targets[:_WARM_UP_TOKENS])
    made: list[tuple[float, float]] = []

    def work() -> None:
        made.append(_run(setting, inputs))

    _run(setting, few)
    memory = extra_memory(work, device)
    peak = ProductPeak(device)
    taken: list[float] = []
    while len(taken) < config.repeats and sum(taken) < _SECONDS:
        taken.append(seconds_of(work, device))
        peak.measure()
    seconds = mean(taken)
    loss, gradient_norm = made[-1]
    return {
        "setting": config.setting,
        "tokens": tokens,
        "vocabulary": len(head),
        "hidden": head.shape[1],
        "seconds": seconds,
        "extra_memory_bytes": memory,
        "flops": (6 if setting.trains_head else 4) * tokens * head.numel() / seconds,
        "peak_flops": peak.flops,
        "loss_per_token": loss / tokens,
        "gradient_norm": gradient_norm,
    }


def _run(setting: Setting, inputs: Inputs) -> tuple[float, float]:
    """The loss, and the norm of the hidden states' gradient; gradients are freed."""
    with torch.autocast(inputs.hidden.device.type, torch.bfloat16):
        loss = setting.loss(inputs)
    loss.backward()
    assert inputs.hidden.grad is not None
    norm = float(inputs.hidden.grad.float().norm())
    inputs.hidden.grad = inputs.head.grad = None
    return float(loss.detach()), norm


def _whole_fp32(inputs: Inputs) -> Tensor:
    """As in transformers' own models."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    logits = inputs.hidden @ inputs.head.T
    mean: Tensor = ForCausalLMLoss(logits, None, len(inputs.head), shift_labels=inputs.targets)
    return mean * len(inputs.targets)


def _whole_bf16(inputs: Inputs) -> Tensor:
    with torch.autocast(inputs.hidden.device.type, enabled=False):
        return cross_entropy(inputs.hidden @ inputs.head.T, inputs.targets, reduction="sum").float()


def _torch_chunks(inputs: Inputs) -> Tensor:
    head = inputs.head.bfloat16() if inputs.head.requires_grad else inputs.head
    return torch_linear_cross_entropy(
        inputs.hidden, head, inputs.targets, reduction="sum", options=LinearCrossEntropyOptions()
    )


def _trl_tiles(inputs: Inputs) -> Tensor:
    """As in TRL's SFTTrainer, its metrics included."""
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    outputs = ("log_probs", "entropy", "is_top1")
    log_probabilities: Tensor = ChunkedLogProbFunction.apply(
        inputs.hidden, inputs.head, None, inputs.targets, 1.0, _CHUNKED_LOGPROB_CHUNK_SIZE, None, 1.0, outputs
    )[0]
    return -log_probabilities.sum()


def _ours(inputs: Inputs, kernel: LossKernel = "tiles") -> Tensor:
    return linear_cross_entropy(inputs.hidden, inputs.head, inputs.targets, kernel=kernel).sum()


def _ours_trained(inputs: Inputs, kernel: LossKernel = "tiles") -> Tensor:
    return trained_linear_cross_entropy(inputs.hidden, inputs.head, inputs.targets, kernel=kernel).sum()


def _print(report: dict[str, Any]) -> None:
    table = Table("setting", "tokens", "seconds", "ours is faster by", "of peak", "memory", "in fp32 logits", "loss")
    results = report["results"]
    frozen = {each["tokens"]: each for each in results if each["setting"] == _OURS}
    trained = {each["tokens"]: each for each in results if each["setting"] == _OURS_TRAINED}
    for each in sorted(results, key=lambda each: list(SETTINGS).index(each["setting"])):
        ours = (trained if SETTINGS[each["setting"]].trains_head else frozen)[each["tokens"]]
        logits_bytes = 4 * each["tokens"] * each["vocabulary"]
        table.add_row(
            each["setting"],
            f"{each['tokens']:,}",
            f"{each['seconds']:.3g}",
            f"{each['seconds'] / ours['seconds']:.2f}x",
            f"{each['flops'] / each['peak_flops']:.0%}",
            f"{each['extra_memory_bytes'] / 1e6:,.0f} MB",
            f"{each['extra_memory_bytes'] / logits_bytes:.2f}",
            f"{each['loss_per_token']:.4f}" + ("" if _agree(each, ours) else " (differs)"),
        )
    console = Console(width=120)
    console.print(table)
    first, peaks = results[0], [each["peak_flops"] / 1e9 for each in results]
    console.print(
        f"Head {first['vocabulary']:,} x {first['hidden']:,}. Operations: 4 x tokens x head, 6 with a trained head. "
        f"Peak: of matmuls between the passes of each, {min(peaks):,.0f} to {max(peaks):,.0f} GFLOP/s in bf16, "
        f"{report['device']}. Memory: above the inputs, gradients counted.\n"
        f"Left out: {report['left_out'] or 'none'}\n{report['versions']}\n{report['config']}",
        highlight=False,
    )


def _agree(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(abs(one[key] / other[key] - 1) < _AGREEMENT for key in ("loss_per_token", "gradient_norm"))


_OURS, _OURS_TRAINED = "ours, frozen head", "ours, trained head"
_PACKAGES = ("transformers", "trl", "triton", "liger-kernel", "cut-cross-entropy")
SETTINGS = {
    "whole logits, fp32 (transformers)": Setting(_whole_fp32),
    "whole logits, bf16": Setting(_whole_bf16),
    "chunks of tokens (torch)": Setting(_torch_chunks),
    "tiles (TRL)": Setting(_trl_tiles, package="trl"),
    "--loss-kernel liger": Setting(functools.partial(_ours, kernel="liger"), package="liger-kernel", needs_cuda=True),
    "--loss-kernel cut-cross-entropy": Setting(
        functools.partial(_ours, kernel="cut-cross-entropy"), package="cut-cross-entropy", needs_cuda=True
    ),
    _OURS: Setting(_ours),
    "whole logits, fp32, trained head": Setting(_whole_fp32, trains_head=True),
    # On the CPU it took 40 seconds for 64 tokens.
    "chunks of tokens (torch), trained head": Setting(_torch_chunks, trains_head=True, needs_cuda=True),
    "--loss-kernel liger, trained head": Setting(
        functools.partial(_ours_trained, kernel="liger"), trains_head=True, package="liger-kernel", needs_cuda=True
    ),
    _OURS_TRAINED: Setting(_ours_trained, trains_head=True),
}
"""In the order they run."""


if __name__ == "__main__":
    sys.exit(main())
