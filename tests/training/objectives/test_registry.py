"""Objectives from outside the package: one is added by a call or an entry point, and trains by the command line."""

import json
import re
from collections.abc import Sequence
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import logsigmoid

from response_tuning.cli.main import main
from response_tuning.conversation import EncodedExample
from response_tuning.example import Example, write_examples
from response_tuning.inference.response_loss import ResponseLoss
from response_tuning.support import plugins
from response_tuning.training.batches.batching import MicroBatch, Unit, epoch_batches, units
from response_tuning.training.objectives import registry
from response_tuning.training.training_config import TrainingConfig


class Focal:
    """Tokens that the model finds easy count less, and how many it is sure of is logged."""

    def __init__(self, _config: TrainingConfig) -> None:
        self.weights = {"loss": 1.0, "sure_tokens": 0.0}
        self.preparation = None

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[Unit]]:
        return [units(batch) for batch in epoch_batches(examples, batch_size=batch_size, seed=seed)]

    def count(self, unit: Unit) -> dict[str, int]:
        return dict.fromkeys(self.weights, unit.supervised_count)

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
        losses = loss_of(micro_batch.batch)
        likelihoods = torch.exp(-losses.detach())
        return {"loss": losses * (1 - likelihoods), "sure_tokens": (likelihoods > 0.5).float()}


class Preferred:
    """A preference objective (Rafailov et al. 2023, arXiv 2305.18290): the response to a prompt is to become likelier
    than that of another example, in comparison to a reference, which here finds all equally likely."""

    weights: ClassVar[dict[str, float]] = {"loss": 1.0, "accuracy": 0.0}
    preparation = None

    def __init__(self, _config: TrainingConfig) -> None:
        pass

    def batches(self, examples: Sequence[EncodedExample], *, batch_size: int, seed: int) -> list[list[Unit]]:
        return [
            [Unit(pair, note=0.0) for pair in zip(batch, [*batch[1:], batch[0]], strict=True)]
            for batch in epoch_batches(examples, batch_size=batch_size, seed=seed)
        ]

    def count(self, unit: Unit) -> dict[str, int]:
        assert len(unit.examples) == 2
        return {"loss": 1, "accuracy": 1}

    def losses(self, loss_of: ResponseLoss, micro_batch: MicroBatch) -> dict[str, Tensor]:
        batch, pairs = micro_batch.batch, micro_batch.units
        of_examples = torch.zeros(2 * len(pairs)).index_add(0, batch.rows, -loss_of(batch))
        chosen, rejected = of_examples.view(-1, 2).unbind(1)
        reference = torch.tensor([pair.note for pair in pairs])
        margins = 0.1 * (chosen - rejected - reference)
        return {"loss": -logsigmoid(margins), "accuracy": (margins.detach() > 0).float()}


@pytest.fixture
def arguments(tmp_path: Path, model_folder: Path, examples: list[Example]) -> list[str]:
    """A short training of the tiny model."""
    write_examples(tmp_path / "data.jsonl", examples[:8])
    options = {"model": model_folder, "data": tmp_path / "data.jsonl", "dtype": "float32", "device": "cpu"}
    options |= {"epochs": 2, "batch-size": 4, "lora-rank": 2, "learning-rate": 1e-2}
    return ["train", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


def test_an_objective_that_is_registered_trains_by_the_command_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_MAKERS", dict(registry._MAKERS))
    registry.register("focal", Focal)
    assert main([*arguments, "--output", str(tmp_path / "focal"), "--objective", "focal"]) == 0
    assert main([*arguments, "--output", str(tmp_path / "usual"), "--objective", "supervised"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "focal" / "training.jsonl").read_text().splitlines()]
    assert list(rows[0])[:4] == ["step", "epoch", "loss", "sure_tokens"]
    assert all(0 <= row["sure_tokens"] < 1 for row in rows)
    focal, usual = (load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("focal", "usual"))
    assert any(not torch.equal(focal[name], usual[name]) for name in usual)
    assert "objective: focal" in (tmp_path / "focal" / "config.yaml").read_text()


@pytest.mark.parametrize("options", [["--packing", "on"], ["--packing", "off", "--micro-batch-tokens", "1"]])
def test_a_loss_of_pairs_with_a_logged_metric_fits_in(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setattr(registry, "_MAKERS", {**registry._MAKERS, "preferred": Preferred})
    output = ["--output", str(tmp_path / "run"), "--objective", "preferred"]
    assert main([*arguments, *options, *output, "--epochs", "4"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert all(row["accuracy"] in (0, 0.25, 0.5, 0.75, 1) for row in rows)


def test_an_entry_point_adds_an_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("focal", f"{__name__}:Focal", registry.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda **_group: EntryPoints([point]))
    monkeypatch.setattr(EntryPoint, "load", lambda _self: Focal)
    plugins.offered.cache_clear()
    assert registry.objective_names() == ["supervised", "sftmix", "preference", "focal"]
    made = registry.make_objective(TrainingConfig(output=Path("run"), objective="focal"))
    assert isinstance(made, Focal)
    plugins.offered.cache_clear()


def test_an_unknown_objective_is_refused_with_the_known_ones(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--output", str(tmp_path / "run"), "--objective", "vocal"]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert printed == "error: There is no objective 'vocal'. There are supervised, sftmix, preference."


def test_one_objective_is_named_in_its_folder_the_registry_and_the_configuration_only() -> None:
    package = Path(registry.__file__).parents[2]
    allowed = {"registry.py", "training_config.py", "presets.py", "methods.py", "expand.py"}  # the last two: of studies
    naming = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if "sftmix" not in path.parts
        and path.name not in allowed
        and re.search(r"sftmix|mixture", path.read_text(encoding="utf-8"), re.IGNORECASE)
    ]
    assert naming == []
