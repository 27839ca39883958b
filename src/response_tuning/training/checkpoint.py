"""Checkpoints: what a training is resumed from, bitwise identical to one that never stopped.

One safetensors file holds the trained weights, the optimizer state and the random state; its metadata holds how far
training had come and a fingerprint of the data. The learning rate and the order of batches follow from the step alone.

The last one has a name of its own; earlier ones that are kept are beside it, named by their steps.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from response_tuning.conversation import EncodedExample
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say
from response_tuning.training.optimizer import optimizer_state, restore_state
from response_tuning.training.parallel.contract import Strategy

__all__ = ["Progress", "Seeding", "data_fingerprint", "remove_checkpoints", "restore_checkpoint", "save_checkpoint"]

Seeding = Literal["sum", "independent"]
"""sum: the seed plus the epoch, in earlier versions. independent: a number of its own for each pair of them."""

_EARLIER = "step-*.safetensors"


@dataclass(frozen=True)
class Progress:
    """How far a training has come."""

    steps: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    best_step: int = 0
    best_loss: float | None = None
    """The lowest held-out loss so far, and the step after which it was measured."""
    since_best: int = 0
    """How many times the held-out loss was measured since, and was not lower."""
    packing: str = "off"
    """Whether examples are packed, "on" or "off"; a resumed training does as before, whatever "auto" means now."""
    seeding: Seeding = "sum"
    """How the seed of an epoch follows from that of the training. Checkpoints of earlier versions do not name it."""
    tracker: str = ""
    """The tracker that the steps were logged to, if any."""
    tracker_run: str = ""
    """Its id of the run, so that a resumed training continues the same curve."""


def data_fingerprint(examples: Sequence[EncodedExample]) -> str:
    """A hash of every token id and supervised position, in order."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(f"{example.prompt_length}:{example.input_ids}\n".encode())
    return digest.hexdigest()


def save_checkpoint(
    path: Path,
    trained: dict[str, nn.Parameter],
    optimizer: Optimizer,
    progress: Progress,
    *,
    strategy: Strategy,
    fingerprint: str,
    keep: int = 1,
) -> None:
    """Write a checkpoint to ``path``, atomically: whenever this is killed, the one before is still whole.

    Shards are gathered, so that any number of processes can resume from it: all of them call this, the first writes.

    Args:
        path: The file.
        trained: The parameters that train, by name.
        optimizer: Their optimizer.
        progress: How far the training has come.
        strategy: How the processes hold them.
        fingerprint: Of the data.
        keep: How many checkpoints to keep, this one included.
    """
    writes = strategy.accelerator.is_main_process
    tensors: dict[str, Tensor] = {"random": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
        torch.cuda.synchronize()  # paged memory is read from the host
    for name, parameter in trained.items():
        tensors[f"weight/{name}"] = strategy.gather(parameter, keep=writes)
        for key, value in optimizer_state(optimizer, parameter).items():
            tensors[f"{key}/{name}"] = strategy.gather(value, keep=writes)
    if not writes:
        return
    temporary = path.with_name(f".{path.name}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        save_file(tensors, temporary, {"progress": json.dumps(asdict(progress)), "fingerprint": fingerprint})
    except SafetensorError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"The checkpoint {path} cannot be written: {error}") from error
    if keep > 1 and path.exists():
        _set_aside(path)
    temporary.replace(path)
    for old in _earlier(path)[keep - 1 :]:
        old.unlink(missing_ok=True)


def remove_checkpoints(path: Path) -> None:
    """Remove the last checkpoint, ``path``, and the earlier ones beside it."""
    for checkpoint in (path, *_earlier(path)):
        checkpoint.unlink(missing_ok=True)


def _set_aside(path: Path) -> None:
    """Give the checkpoint a second name, so that it stays when the next one takes the first."""
    try:
        with safe_open(path, framework="pt") as file:
            steps = json.loads(file.metadata()["progress"])["steps"]
    except SafetensorError:  # damaged since; nothing to keep
        return
    aside = path.with_name(_EARLIER.replace("*", f"{steps:09d}"))
    aside.unlink(missing_ok=True)
    try:
        os.link(path, aside)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, aside)


def _earlier(path: Path) -> list[Path]:
    """The checkpoints before the last, newest first."""
    return sorted(path.parent.glob(_EARLIER), reverse=True)


def restore_checkpoint(
    path: Path,
    trained: dict[str, nn.Parameter],
    optimizer: Optimizer,
    *,
    strategy: Strategy,
    fingerprint: str,
) -> Progress:
    """Restore what ``save_checkpoint`` wrote, if there is a checkpoint; returns how far that training had come.

    If the last checkpoint is damaged, the newest whole one that was kept is used, which is logged.

    Raises:
        UserError: the data are not those of the checkpoint, or the file is damaged.
    """
    if not path.exists():
        return Progress()
    metadata, tensors = _read_newest_whole(path)
    if metadata["fingerprint"] != fingerprint:
        raise UserError(
            f"The data changed since the checkpoint {path} was written. "
            "Put the old data back, choose another --output, or delete the run folder."
        )
    for name, parameter in trained.items():
        parameter.data.copy_(strategy.shard(tensors[f"weight/{name}"], parameter))
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, _, name = key.partition("/")
        if name and part != "weight":
            states.setdefault(name, {})[part] = tensor
    for name, state in states.items():
        restore_state(optimizer, trained[name], state, strategy.shard)
    torch.set_rng_state(tensors["random"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return Progress(**json.loads(metadata["progress"]))


def _read_newest_whole(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    damage = ""
    for candidate in (path, *_earlier(path)):
        try:
            metadata, tensors = _read(candidate)
        except SafetensorError as error:
            damage = damage or f"The checkpoint {path} is damaged ({error})."
            continue
        if damage:
            say(f"{damage} An earlier one, {candidate.name}, is used.")
        return metadata, tensors
    raise UserError(f"{damage} Delete it to train from the beginning.")


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        return file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dictionary
