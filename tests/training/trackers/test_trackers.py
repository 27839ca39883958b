"""Trackers: a resumed training continues its curve, and trackers change nothing in a run."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from response_tuning.cli.main import main
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.training.trackers import registry
from response_tuning.training.trackers.contract import Place, Started, TrackerKind
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from tests.training.conftest import changed, interrupt_after

STEPS = [1, 2, 3, 4, 5, 6]


def broken_off(config: TrainingConfig, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        interrupt_after(after, patched)
        train(config)


def logged(run: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.training_log.read_text().splitlines()]


def test_tensorboard_has_one_curve_of_a_training_that_was_killed_twice(
    config: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plain = changed(config, output=tmp_path / "plain")
    train(plain)
    tracked = changed(config, tracker="tensorboard")
    # Logged, and in no checkpoint: the first two steps are repeated, and so is the fourth.
    broken_off(changed(tracked, checkpoint_every_seconds=1000), 2, monkeypatch)
    broken_off(changed(tracked, checkpoint_every_seconds=0), 3, monkeypatch)
    broken_off(changed(tracked, checkpoint_every_seconds=1000), 1, monkeypatch)
    train(tracked)
    run = RunDirectory(config.output)
    assert len([*(run.path / "tracker").glob("events.out.tfevents.*")]) == 4
    assert [path for path in (run.path / "tracker").iterdir() if path.is_dir()] == []
    events = EventAccumulator(str(run.path / "tracker")).Reload()
    curve = events.Scalars("loss")
    assert [point.step for point in curve] == STEPS
    assert [point.value for point in curve] == pytest.approx([row["loss"] for row in logged(run)])
    assert {"held_out_loss", "learning_rate", "gradient_norm"} <= set(events.Tags()["scalars"])
    weights = [load_file(RunDirectory(one.output).adapter / "adapter_model.safetensors") for one in (plain, tracked)]
    assert all(tensor.equal(weights[1][name]) for name, tensor in weights[0].items())


class Recorder:
    """Records what it is given, by run."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self.steps: dict[str, list[int | None]] = {}
        self.finished = 0
        self.run_id = ""

    def start(self, place: Place) -> Started:
        self.places.append(place)
        self.run_id = place.run_id or f"run {len(self.places)}"
        return Started(self, self.run_id)

    def log(self, values: dict[str, Any], step: int | None = None) -> None:
        assert all(isinstance(value, int | float) for value in values.values())
        self.steps.setdefault(self.run_id, []).append(step)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setitem(registry._KINDS, "recorder", TrackerKind("json", made.start))
    return made


def test_the_run_of_the_tracker_is_kept_in_the_checkpoint(
    config: TrainingConfig, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracked = changed(config, tracker="recorder", tracker_project="mine", checkpoint_every_seconds=0)
    broken_off(tracked, 3, monkeypatch)
    assert recorder.finished == 1
    train(tracked)
    assert recorder.steps == {"run 1": STEPS}
    first, second = recorder.places
    assert (first.project, first.name, first.run_id, first.steps) == ("mine", "alone", "", 0)
    assert (second.run_id, second.steps, second.configuration["lora_rank"]) == ("run 1", 3, 3)
    train(tracked)
    assert len(recorder.places) == 2


def test_another_tracker_does_not_take_the_run_of_the_first(
    config: TrainingConfig, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Recorder()
    monkeypatch.setitem(registry._KINDS, "other", TrackerKind("json", other.start))
    broken_off(changed(config, tracker="other", checkpoint_every_seconds=0), 3, monkeypatch)
    train(changed(config, tracker="recorder"))
    assert (recorder.places[0].run_id, recorder.steps) == ("", {"run 1": [4, 5, 6]})


def test_unknown_and_missing_trackers_are_named(
    config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--output", str(config.output), "--tracker", "tensorbord"]) == 2
    assert "There is no tracker 'tensorbord'. There are none, tensorboard" in capsys.readouterr().err
    monkeypatch.setitem(registry._KINDS, "tensorboard", TrackerKind("no_such_package", Recorder().start))
    with pytest.raises(UserError, match=r"--tracker tensorboard needs the package no_such_package.*\[tensorboard\]"):
        train(changed(config, tracker="tensorboard"))
    assert not config.output.exists()
