"""A run directory: one training and all that was measured on it."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel

from response_tuning.support.configuration import differences, read_values, write_config
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName
from response_tuning.training.training_config import TrainingConfig

if TYPE_CHECKING:
    from response_tuning.conversation import Conversation
    from response_tuning.models.load import LoadedModel

__all__ = [
    "RunDirectory",
    "check_folder",
    "claim_folder",
    "evaluation_folder",
    "load_with_conversation",
    "remove_leftovers",
]

_NO_MATTER = frozenset(
    {"output", "gpus", "processes", "nodes", "sharding", "offload", "keep_checkpoints", "keep_adapter_every"}
)
"""Options that do not change what a run is: it may go on in more processes, or fewer, sharded or not."""
_HALF_WRITTEN = (
    *(".config.yaml.*", ".data.json.*", ".*.jsonl.*"),
    *(".adapter.partial-*", ".model.partial-*"),
    "checkpoints/.*",  # safetensors writes under names of its own, as large as the checkpoint
)

_CHECKPOINTS, _STEP = "checkpoints", "step-"


@dataclass(frozen=True)
class RunDirectory:
    """The names of the files in a run's folder."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved configuration, enough to repeat the run."""
        return self.path / "config.yaml"

    @property
    def data_report(self) -> Path:
        """What became of the rows of the data."""
        return self.path / "data.json"

    @property
    def adapter(self) -> Path:
        """The trained adapter with tokenizer and chat template, in PEFT's format. There only when training is done."""
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        """The whole trained model, where every weight was trained: safetensors, tokenizer and chat template."""
        return self.path / "model"

    @property
    def training_log(self) -> Path:
        """One row per optimizer step."""
        return self.path / "training.jsonl"

    @property
    def checkpoint(self) -> Path:
        """Where an interrupted training goes on from. Gone when training is done."""
        return self.path / _CHECKPOINTS / "last.safetensors"

    def kept_checkpoint(self, steps: int) -> Path:
        """Where the adapter after so many optimizer steps is kept, if that was asked for."""
        return self.path / _CHECKPOINTS / f"{_STEP}{steps}"

    @property
    def kept_checkpoints(self) -> dict[int, Path]:
        """Folders of adapters as they were after so many optimizer steps, by step; with tokenizer and chat template."""
        folders = {
            int(folder.name.removeprefix(_STEP)): folder
            for folder in (self.path / _CHECKPOINTS).glob(f"{_STEP}*")
            if folder.name.removeprefix(_STEP).isdecimal() and (folder / "adapter_config.json").exists()
        }
        return dict(sorted(folders.items()))

    @property
    def best_weights(self) -> Path:
        """The weights of the lowest held-out loss so far. Gone when training is done."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def is_trained(self) -> bool:
        """Whether training has finished."""
        return self.adapter.is_dir() or self.model.is_dir()

    def evaluation(self, task: str) -> Path:
        """The folder of one evaluation's results."""
        return self.path / "evaluations" / task


def check_folder(folder: Path, config: BaseModel) -> None:
    """See that ``folder`` can be claimed for ``config``: it holds nothing, or what the same configuration made.

    Raises:
        UserError: the folder holds another configuration, or files of something else.
    """
    path = folder / "config.yaml"
    if path.exists():
        different = differences(path, config, ignore=_NO_MATTER)
        if different:
            raise UserError(
                f"{folder} was made with another configuration:\n  " + "\n  ".join(different) + "\n"
                "Choose another --output, or delete the folder."
            )
    elif folder.exists() and (not folder.is_dir() or set(folder.iterdir()) - set(_half_written(folder))):
        raise UserError(f"{folder} exists and holds something else. Choose another --output.")


def claim_folder(folder: Path, config: BaseModel) -> None:
    """Make ``folder`` and write ``config`` into it, once everything it needs is found to be there.

    Raises:
        UserError: as ``check_folder``.
    """
    check_folder(folder, config)
    write_config(folder / "config.yaml", config)


def remove_leftovers(folder: Path) -> None:
    """Remove what a training that was killed left half-written in its run folder; nothing else may train there now."""
    for path in _half_written(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _half_written(folder: Path) -> list[Path]:
    return [path for pattern in _HALF_WRITTEN for path in folder.glob(pattern)]


def evaluation_folder(model_spec: str, task: str) -> Path:
    """Where an evaluation of a model is saved: in the run, or in ``runs/base-NAME`` for a model that is no run.

    Those of a run's checkpoint are in ``checkpoints/step-N`` below the run's own.
    """
    path = Path(model_spec)
    run = _run_of(path)
    if run.path != path:
        return run.evaluation(task) / _CHECKPOINTS / path.name
    if not run.is_trained:
        # Not the stem: it would put Llama-3.2-1B and Llama-3.2-3B into one folder.
        run = RunDirectory(Path("runs") / f"base-{Path(model_spec).name.removesuffix('.gguf')}")
    return run.evaluation(task)


def load_with_conversation(
    spec: str, format_name: FormatName | Literal["auto"], *, dtype: Dtype, device: Device
) -> tuple["LoadedModel", "Conversation"]:
    """Load any model spec for inference, with the chat format it was trained in if it is a run or its checkpoint.

    Raises:
        UserError: there is no such model.
    """
    from response_tuning.conversation import Conversation, default_format
    from response_tuning.models.load import load_model

    config_path = _run_of(Path(spec)).config
    loaded = load_model(spec, dtype=dtype, device=device)
    trained = read_values(config_path, TrainingConfig) if config_path.exists() else {}
    chosen = trained.get("format", default_format(spec)) if format_name == "auto" else format_name
    return loaded, Conversation(loaded.tokenizer, chosen, rt_prefix=trained.get("rt_prefix", "none"))


def _run_of(path: Path) -> RunDirectory:
    """The run that ``path`` is, or that it is a checkpoint of."""
    run = RunDirectory(path)
    if path.parent.name != _CHECKPOINTS:
        return run
    above = RunDirectory(path.parents[1])
    return above if path in above.kept_checkpoints.values() else run
