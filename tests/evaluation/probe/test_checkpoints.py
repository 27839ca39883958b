"""The probe over a training: real adapters of a tiny model as checkpoints."""

import json
import shutil
from pathlib import Path

import pytest

from response_tuning.evaluation.probe import checkpoints as checkpoints_module
from response_tuning.evaluation.probe import probe as probe_module
from response_tuning.evaluation.probe.checkpoints import probe_checkpoints
from response_tuning.evaluation.probe.probe import probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.example import Example, write_examples
from response_tuning.models.load import load_tokenizer
from response_tuning.runs.folder import RunDirectory, evaluation_folder
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


def train_tiny(
    output: Path, model_folder: Path, examples: list[Example], *, epochs: int, keep_adapter_every: int = 0
) -> RunDirectory:
    """Two steps an epoch."""
    data = output.with_suffix(".jsonl")
    write_examples(data, examples[:12])
    return train(
        TrainingConfig(
            output=output,
            model=str(model_folder),
            data=str(data),
            method="it",
            format="alpaca",
            dtype="float32",
            device="cpu",
            epochs=epochs,
            batch_size=8,
            lora_rank=4,
            learning_rate=5e-2,
            keep_adapter_every=keep_adapter_every,
        )
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> RunDirectory:
    """A run of twenty steps that kept its adapter after the tenth and, by hand, after others."""
    folder = tmp_path_factory.mktemp("trained")
    run = train_tiny(folder / "run", model_folder, examples, epochs=10, keep_adapter_every=10)
    for epochs in (1, 10):
        shorter = train_tiny(folder / f"epochs-{epochs}", model_folder, examples, epochs=epochs)
        shutil.copytree(shorter.adapter, run.path / "checkpoints" / f"step-{2 * epochs}")
    (run.path / "checkpoints" / "step-6").mkdir()  # holds no adapter
    return run


@pytest.fixture
def run(tmp_path: Path, trained: RunDirectory) -> RunDirectory:
    """A copy of the run, to be measured."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def config_of(run: RunDirectory) -> ProbeConfig:
    return ProbeConfig(
        model=str(run.path), checkpoints=True, max_examples=8, max_new_tokens=6, dtype="float32", device="cpu"
    )


def test_a_run_is_probed_at_every_checkpoint_and_at_its_end(run: RunDirectory) -> None:
    points = probe_checkpoints(config_of(run))
    assert [(point.step, Path(point.model).name) for point in points] == [(2, "step-2"), (10, "step-10"), (20, "run")]
    folder = run.evaluation("probe")
    saved = json.loads((folder / "checkpoints.json").read_text())["checkpoints"]
    assert [point["step"] for point in saved] == [2, 10, 20]
    assert set(saved[0]["metrics"]) == {"follows", "correct", "responds", "stops", "loops", "copies", "on_topic"}
    for step in (2, 10):
        alone = probe(config_of(run).model_copy(update={"model": str(run.path / "checkpoints" / f"step-{step}")}))
        assert next(point.metrics for point in points if point.step == step) == alone.metrics
    responses = [read_json_lines(path / "responses.jsonl") for path in (folder, folder / "checkpoints" / "step-2")]
    assert [row["response"] for row in responses[0]] != [row["response"] for row in responses[1]]


def test_a_chart_is_drawn_where_it_can_be(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    chart = run.evaluation("probe") / "checkpoints.png"
    with monkeypatch.context() as without:
        without.setattr(checkpoints_module, "find_spec", lambda _name: None)
        probe_checkpoints(config_of(run))
        assert not chart.exists()
    probe_checkpoints(config_of(run))
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_what_was_measured_is_not_measured_again(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    end = probe(config_of(run).model_copy(update={"checkpoints": False}))
    first = probe_checkpoints(config_of(run))
    assert first[-1].metrics == end.metrics
    monkeypatch.setattr(probe_module, "respond_here", None)  # would fail if it were called
    assert probe_checkpoints(config_of(run)) == first


def test_an_unfinished_run_has_no_end(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # its results go to ./runs
    shutil.rmtree(run.adapter)
    assert [point.step for point in probe_checkpoints(config_of(run))] == [2, 10, 20]
    assert not (run.evaluation("probe") / "metrics.json").exists()


def test_a_checkpoint_is_loaded_in_its_runs_format(run: RunDirectory) -> None:
    checkpoint = run.path / "checkpoints" / "step-2"
    _, conversation = load_with_conversation(str(checkpoint), "auto", dtype="float32", device="cpu")
    assert conversation.format_name == "alpaca"
    assert load_tokenizer(str(checkpoint)).chat_template == conversation.chat_template
    assert evaluation_folder(str(checkpoint), "ifeval") == run.evaluation("ifeval") / "checkpoints" / "step-2"


def test_a_run_that_kept_none_and_what_is_no_run_are_refused(run: RunDirectory, model_folder: Path) -> None:
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(UserError, match="kept no checkpoints"):
        probe_checkpoints(config_of(run))
    with pytest.raises(UserError, match="is not a run"):
        probe_checkpoints(config_of(run).model_copy(update={"model": str(model_folder)}))
