"""The course of a judge-free evaluation: measured once, saved, and read again only with the same settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from response_tuning.evaluation.shared.evaluate_unjudged import Means, Measurement, evaluate_unjudged, means_of
from response_tuning.evaluation.shared.evaluation_options import GenerationOptions
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines

ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "response": "NO", "values": {"shouts": 1.0, "words": 1.0}},
    {"prompt": "b", "response": "so it is", "values": {"shouts": 0.0}},
]


def read(saved: Mapping[str, Any], folder: Path) -> Means:
    metrics = {name: Estimate(**estimate) for name, estimate in saved["metrics"].items()}
    return Means(metrics, read_json_lines(folder / "responses.jsonl"))


@pytest.fixture
def measured() -> list[Path]:
    """The folder of each measurement."""
    return []


def evaluate(config: GenerationOptions, measured: list[Path], **options: Any) -> Means:
    def measure(folder: Path) -> Measurement[Means]:
        measured.append(folder)
        return Measurement(means_of(ROWS), {"backend": "test"}, facts={"checks": 25})

    result: Means = evaluate_unjudged(config, "toy", measure=measure, **options)
    return result


def test_every_value_has_its_mean_over_the_rows_that_have_it() -> None:
    assert {name: (mean.value, mean.n) for name, mean in means_of(ROWS).metrics.items()} == {
        "shouts": (0.5, 2),
        "words": (1.0, 1),
    }


def test_a_result_is_saved_with_its_settings_and_facts(tmp_path: Path, measured: list[Path]) -> None:
    result = evaluate(GenerationOptions(model="m", output=tmp_path / "out"), measured)
    saved = read_json(tmp_path / "out" / "metrics.json")
    assert (saved["task"], saved["backend"], saved["checks"]) == ("toy", "test", 25)
    assert saved["metrics"]["shouts"]["value"] == result.metrics["shouts"].value
    assert saved["seconds"] >= 0
    assert saved["settings"].keys() == GenerationOptions.model_fields.keys() - {"output", "offline"}
    assert read_json_lines(tmp_path / "out" / "responses.jsonl") == ROWS


def test_a_finished_evaluation_is_read_and_other_settings_are_measured(tmp_path: Path, measured: list[Path]) -> None:
    config = GenerationOptions(model="m", output=tmp_path / "out")
    first = evaluate(config, measured, read=read)
    assert evaluate(config.model_copy(update={"offline": True}), measured, read=read) == first
    assert len(measured) == 1
    evaluate(config.model_copy(update={"max_new_tokens": 9}), measured, read=read)
    assert len(measured) == 2
    evaluate(config.model_copy(update={"max_new_tokens": 9}), measured, read=lambda *_: None)
    evaluate(config.model_copy(update={"max_new_tokens": 9}), measured)
    assert len(measured) == 4


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_measured(
    tmp_path: Path, measured: list[Path]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        evaluate(GenerationOptions(model="m", output=tmp_path / "file" / "out"), measured)
    assert measured == []
