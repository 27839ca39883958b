"""The probe on a tiny model: what is saved, taken up again, and refused."""

import json
from pathlib import Path

import pytest
from inspect_ai.log import read_eval_log

from response_tuning.cli.main import main
from response_tuning.conversation import FORMATS
from response_tuning.evaluation.probe import probe as probe_module
from response_tuning.evaluation.probe.probe import compare_formats, probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.probe.ranking import RANKINGS
from response_tuning.evaluation.shared import answering as answering_module
from response_tuning.example import Example, write_examples
from response_tuning.runs.local import answer_in_batches
from response_tuning.support.errors import UserError

_MEASURED = {"follows", "correct", "responds", "stops", "loops", "copies", "on_topic"}
"""The measures of rows with checks and references, as the starter's held-out rows are."""


def _ranked(config: ProbeConfig) -> ProbeConfig:
    return config.model_copy(update={"ranking": True, "pmi": True})


@pytest.fixture
def config(tmp_path: Path, model_folder: Path) -> ProbeConfig:
    """A short probe of the tiny model on eight held-out pairs."""
    return ProbeConfig(
        model=str(model_folder),
        output=tmp_path / "probe",
        max_examples=8,
        max_new_tokens=10,
        batch_size=3,
        dtype="float32",
        device="cpu",
    )


def test_every_metric_has_n_and_an_interval_and_every_response_is_saved(config: ProbeConfig) -> None:
    result = probe(config)
    saved = json.loads((config.output / "metrics.json").read_text())  # type: ignore[operator]
    assert set(saved["metrics"]) == _MEASURED
    for estimate in saved["metrics"].values():
        assert estimate["n"] == 8
        assert 0 <= estimate["low"] <= estimate["value"] <= estimate["high"] <= 1
    rows = [json.loads(line) for line in (config.output / "responses.jsonl").read_text().splitlines()]  # type: ignore[operator]
    assert rows == result.rows
    assert result.metrics["stops"].value == sum(row["stops"] for row in rows) / 8
    assert (saved["task"], saved["judge"], saved["dtype"]) == ("probe", None, "float32")
    log = read_eval_log(str(config.output / "probe.eval"))  # type: ignore[operator]
    assert [sample.output.completion for sample in log.samples or ()] == [row["response"] for row in rows]
    for row in rows:
        assert set(row["values"]) == _MEASURED
        assert row["values"]["copies"] == row["copies"]


def test_a_finished_probe_is_read_and_not_done_again(config: ProbeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    first = probe(config)
    monkeypatch.setattr(probe_module, "respond_here", None)  # would fail if it were called
    assert probe(config) == first


def test_a_probe_belongs_to_the_content_of_its_data_and_not_to_their_path(
    config: ProbeConfig, tmp_path: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, moved = tmp_path / "data.jsonl", tmp_path / "moved.jsonl"
    write_examples(data, examples[:8])
    own = config.model_copy(update={"data": str(data), "max_examples": None})
    first = probe(own)
    changed = [examples[0].model_copy(update={"completion": "Another reference."}), *examples[1:8]]
    write_examples(data, changed)
    assert probe(own).rows[0]["completion"] == "Another reference."
    write_examples(moved, examples[:8])
    write_examples(data, examples[:8])
    assert probe(own).metrics == first.metrics
    monkeypatch.setattr(probe_module, "respond_here", None)  # would fail if it were called
    assert probe(own.model_copy(update={"data": str(moved), "batch_size": 1})).metrics == first.metrics


def test_other_settings_are_probed_anew(config: ProbeConfig) -> None:
    probe(config)
    longer = probe(config.model_copy(update={"max_new_tokens": 12}))
    assert max(row["token_count"] for row in longer.rows) == 12


def test_an_interrupted_probe_keeps_its_responses(config: ProbeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = probe(config.model_copy(update={"output": config.output.with_name("whole")}))  # type: ignore[union-attr]
    generate = answer_in_batches
    asked: list[int] = []

    def interrupted(*arguments: object, **options: object):  # type: ignore[no-untyped-def]
        batches = generate(*arguments, **options)  # type: ignore[arg-type]
        yield next(batches)
        raise KeyboardInterrupt

    def counted(*arguments: object, **options: object):  # type: ignore[no-untyped-def]
        asked.append(len(arguments[1]))  # type: ignore[arg-type]
        yield from generate(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(answering_module, "answer_in_batches", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probe(config)
    monkeypatch.setattr(answering_module, "answer_in_batches", counted)
    assert probe(config) == whole
    assert asked == [8 - 3]


def test_formats_are_compared_and_the_best_one_is_named(config: ProbeConfig) -> None:
    comparison = compare_formats(config)
    assert list(comparison.metrics) == list(FORMATS)
    name = "follows_cut" if "follows_cut" in comparison.metrics["tulu"] else "on_topic, no copy"
    quality = {of: metrics[name].value for of, metrics in comparison.metrics.items()}
    assert quality[comparison.best] == max(quality.values())


def test_formats_leave_no_room_for_checkpoints_or_for_one_format(
    config: ProbeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", config.model, "--formats", "--checkpoints"]) == 2
    assert "Choose one of the two" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UserError, match="Leave out --format alpaca"):
        compare_formats(config.model_copy(update={"format": "alpaca"}))


def test_data_without_prompts_is_refused(config: ProbeConfig, tmp_path: Path) -> None:
    data = tmp_path / "bare.jsonl"
    write_examples(data, [Example(completion="An answer.")])
    with pytest.raises(UserError, match="no prompt, which the probe needs"):
        probe(config.model_copy(update={"data": str(data)}))


def test_too_few_examples_to_rank_are_refused(config: ProbeConfig) -> None:
    with pytest.raises(UserError, match="needs at least 6"):
        probe(_ranked(config).model_copy(update={"max_examples": 3}))


def test_other_comparisons_are_made_with_the_responses_that_are_there(
    config: ProbeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = probe(_ranked(config))
    monkeypatch.setattr(answering_module, "answer_in_batches", lambda *_, **__: iter(()))
    again = probe(_ranked(config).model_copy(update={"seed": 1, "others": 2}))
    assert set(first.metrics) == _MEASURED | set(RANKINGS)
    assert [row["response"] for row in again.rows] == [row["response"] for row in first.rows]
    assert again.metrics["ranks_hard"] == first.metrics["ranks_hard"]
    assert again.metrics["ranks"] != first.metrics["ranks"]


def test_a_probe_that_lacks_a_metric_is_done_anew(config: ProbeConfig) -> None:
    first = probe(config)
    path = config.output / "metrics.json"  # type: ignore[operator]
    saved = json.loads(path.read_text())
    del saved["metrics"]["loops"]
    path.write_text(json.dumps(saved))
    assert probe(config) == first
