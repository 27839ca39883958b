"""A run folder: the names of its files, who may write to it, and where a model's evaluations are saved."""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.spec import parse_spec
from response_tuning.support.configuration import differences, write_config
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json

__all__ = ["RunDirectory", "check_folder", "claim_folder", "evaluation_folder", "remove_leftovers", "run_of"]

_ONLY_THE_PLACE = frozenset({"output"})
_HALF_WRITTEN = (
    *(".config.yaml.*", ".data.json.*", ".tuning.json.*", ".*.jsonl.*"),
    *(".adapter.partial-*", ".model.partial-*"),
    "checkpoints/.*",  # safetensors writes under names of its own, as large as the checkpoint
)

_CHECKPOINTS, _STEP = "checkpoints", "step-"
_KEY_DIGITS = 8


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
    def tuning(self) -> Path:
        """What was trained: coverage, the prefix of responses as text, and the stop tokens."""
        return self.path / "tuning.json"

    @property
    def adapter(self) -> Path:
        """The trained adapter with tokenizer and chat template, in PEFT's format. Exists once training has finished."""
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
        """The checkpoint that an interrupted run resumes from. Removed when training has finished."""
        return self.path / _CHECKPOINTS / "last.safetensors"

    def kept_checkpoint(self, steps: int) -> Path:
        """Where the adapter after ``steps`` optimizer steps is kept, if that was asked for."""
        return self.path / _CHECKPOINTS / f"{_STEP}{steps}"

    @property
    def kept_checkpoints(self) -> dict[int, Path]:
        """The folders of kept adapters, with tokenizer and chat template, by their number of optimizer steps."""
        folders = {
            int(folder.name.removeprefix(_STEP)): folder
            for folder in (self.path / _CHECKPOINTS).glob(f"{_STEP}*")
            if folder.name.removeprefix(_STEP).isdecimal() and (folder / "adapter_config.json").exists()
        }
        return dict(sorted(folders.items()))

    @property
    def best_weights(self) -> Path:
        """The weights of the lowest held-out loss so far. Removed when training has finished."""
        return self.path / _CHECKPOINTS / "best.safetensors"

    @property
    def is_trained(self) -> bool:
        """Whether training has finished."""
        return self.adapter.is_dir() or self.model.is_dir()

    @property
    def is_complete(self) -> bool:
        """Whether it can be asked: training has finished, or it is a run that nobody trained."""
        is_adapter = (self.path / "adapter_config.json").exists()
        return self.is_trained or ((self.path / "base_model.json").is_file() and not is_adapter)

    def evaluation(self, task: str) -> Path:
        """The folder of one evaluation's results."""
        return self.path / "evaluations" / task


def check_folder(folder: Path, config: BaseModel, *, ignore: frozenset[str] = _ONLY_THE_PLACE) -> None:
    """Require that ``folder`` can be claimed for ``config``: it is free, or was made with the same configuration.

    Args:
        folder: the run folder, whether it exists or not.
        config: the configuration of the run.
        ignore: options that do not change the run, such as the number of processes.

    Raises:
        UserError: the folder was made with another configuration, or holds other files.
    """
    path = folder / "config.yaml"
    if path.exists():
        different = differences(path, config, ignore=ignore)
        if different:
            raise UserError(
                f"{folder} was made with another configuration:\n  " + "\n  ".join(different) + "\n"
                "Choose another --output, or delete the folder."
            )
    elif folder.exists() and (not folder.is_dir() or set(folder.iterdir()) - set(_half_written(folder))):
        raise UserError(f"{folder} exists and holds something else. Choose another --output.")


def claim_folder(folder: Path, config: BaseModel, *, ignore: frozenset[str] = _ONLY_THE_PLACE) -> None:
    """Make ``folder`` and write ``config`` into it. Called once everything that the run needs has been found.

    Raises:
        UserError: as ``check_folder``.
    """
    check_folder(folder, config, ignore=ignore)
    write_config(folder / "config.yaml", config)


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written files of a killed training. Only for the process that trains in ``folder``."""
    for path in _half_written(folder):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _half_written(folder: Path) -> list[Path]:
    return [path for pattern in _HALF_WRITTEN for path in folder.glob(pattern)]


def evaluation_folder(model_spec: str, task: str) -> Path:
    """Where an evaluation of a model is saved: in the run, or in ``runs/base-NAME`` for a model that is no run.

    Two models of one name have two folders: the second one's name ends in a part of its fingerprint.

    Those of a run's checkpoint are in ``checkpoints/step-N`` below the run's own.
    """
    path = Path(model_spec)
    run = run_of(path)
    if run.path != path:
        return run.evaluation(task) / _CHECKPOINTS / path.name
    return (run if run.is_complete else _folder_of_model(model_spec)).evaluation(task)


def _folder_of_model(model_spec: str) -> RunDirectory:
    """``runs/base-NAME``, or ``runs/base-NAME-KEY`` where another model of that name has its evaluations."""
    plain = Path("runs") / f"base-{_name(model_spec)}"
    key = model_fingerprint(model_spec) or hashlib.sha256(model_spec.encode()).hexdigest()
    keyed = plain.with_name(f"{plain.name}-{key[:_KEY_DIGITS]}")
    is_taken = not all(_is_of(read_json(file), model_spec) for file in plain.glob("evaluations/*/metrics.json"))
    return RunDirectory(keyed if keyed.exists() or is_taken else plain)


def _is_of(metrics: Mapping[str, Any], model_spec: str) -> bool:
    """Whether an evaluation is of this model: by its fingerprint, or by its spec where there is none to compare."""
    then, now = metrics.get("fingerprint"), model_fingerprint(model_spec)
    return then == now if then and now else bool(metrics.get("settings", {}).get("model") == model_spec)


def run_of(path: Path) -> RunDirectory:
    """The run that ``path`` is, or that it is a checkpoint of."""
    run = RunDirectory(path)
    if path.parent.name != _CHECKPOINTS:
        return run
    above = RunDirectory(path.parents[1])
    return above if path in above.kept_checkpoints.values() else run


def _name(model_spec: str) -> str:
    """The last part of a spec, with its revision.

    Not the stem of a path: Llama-3.2-1B and Llama-3.2-3B would share a folder.
    """
    spec = parse_spec(model_spec)
    name = Path(spec.name).name.removesuffix(".gguf")
    return name if spec.revision is None else f"{name}@{spec.revision.replace('/', '-')}"
