"""What an evaluation leaves behind: numbers with what they were made with, and a log that Inspect opens."""

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluation_options import GenerationOptions
from response_tuning.evaluation.shared.identity import data_hash
from response_tuning.evaluation.shared.results import read_metrics, save_evaluation, save_metrics, save_responses
from response_tuning.evaluation.shared.statistics import estimate_mean
from response_tuning.inference.generate import Response
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.support.files import read_json, read_json_lines, write_json_lines
from response_tuning.support.versions import versions

BACKEND = {"backend": "transformers", "dtype": "float32", "device": "cpu", "format": "tulu"}
ROWS: list[dict[str, Any]] = [
    {"prompt": "a", "response": "No.", "state": "judged", "answer": "It refuses.", "values": {"refusal": 1.0}},
    {
        "prompt": "b",
        "response": "Yes \N{SNOWMAN}",
        "state": "judged",
        "answer": "It helps.",
        "values": {"refusal": 0.0},
    },
    {"prompt": "c", "response": "", "state": "empty", "answer": None, "values": {}},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_evaluation(
        tmp_path,
        "refusals",
        config=GenerationOptions(model="runs/rt", output=tmp_path, max_new_tokens=7),
        answered=Answered([Response("No.", 2, stopped=True)], BACKEND),
        metrics={"rates": {"advbench": estimate_mean([1.0, 0.0])}, "xstest": None},
        rows=ROWS,
        judge="openai-api/faulty/model",
    )
    return tmp_path


def test_metrics_say_what_they_were_made_with(folder: Path) -> None:
    saved = read_json(folder / "metrics.json")
    assert saved["task"] == "refusals"
    assert saved["metrics"]["rates"]["advbench"] == {"value": 0.5, "n": 2, "low": 0.0945, "high": 0.9055}
    assert saved["metrics"]["xstest"] is None
    assert saved["judge"] == "openai-api/faulty/model"
    assert {name: saved[name] for name in BACKEND} == BACKEND
    assert (saved["settings"]["model"], saved["settings"]["max_new_tokens"]) == ("runs/rt", 7)
    assert saved["versions"] == versions()
    assert saved["date"].endswith("+00:00")
    assert saved["fingerprint"] is None  # of a model that is not there


HEAD = [
    "task",
    "metrics",
    "settings",
    "judge",
    "backend",
    "dtype",
    "device",
    "format",
    "fingerprint",
    "date",
    "versions",
]


def test_every_evaluation_has_the_same_head_and_null_where_there_is_nothing_to_say(folder: Path) -> None:
    assert list(read_json(folder / "metrics.json")) == HEAD
    save_metrics(folder, "core", metrics={}, settings={}, backend={"backend": "x"}, packages=("lm-eval",), seconds=1.5)
    saved = read_json(folder / "metrics.json")
    assert list(saved) == [*HEAD, "seconds"]
    assert saved["judge"] is saved["dtype"] is None
    assert saved["versions"].keys() - versions().keys() == {"lm-eval"}


def test_metrics_are_read_again_for_the_same_settings_and_the_same_weights(folder: Path, model_folder: Path) -> None:
    settings = {"model": str(model_folder), "max_new_tokens": 7}
    save_metrics(folder, "probe", metrics={}, settings=settings, backend={"fingerprint": None})
    assert read_metrics(folder, settings=settings) == read_json(folder / "metrics.json")  # as of an older version
    assert read_metrics(folder, settings=settings | {"max_new_tokens": 8}) is None
    save_metrics(folder, "probe", metrics={}, settings=settings, backend={"fingerprint": "of other weights"})
    assert read_metrics(folder, settings=settings) is None
    assert read_metrics(folder / "nothing", settings=settings) is None


def test_a_part_of_a_whole_is_a_share_in_the_log_and_weighs_by_its_whole(tmp_path: Path) -> None:
    from inspect_ai.log import read_eval_log

    rows = [{"prompt": "a", "response": "b", "values": {"checks": pair}} for pair in ([1, 4], [2, 2])]
    save_responses(tmp_path, "ifeval", model="runs/rt", rows=rows)
    log = read_eval_log(str(tmp_path / "ifeval.eval"))
    assert [sample.scores["checks"].value for sample in log.samples or () if sample.scores] == [0.25, 1.0]
    assert log.results is not None
    assert log.results.scores[0].metrics["mean"].value == 0.5


def test_every_response_is_kept(folder: Path) -> None:
    assert read_json_lines(folder / "responses.jsonl") == json.loads(json.dumps(ROWS))


def test_inspect_opens_the_log_with_scores_and_messages(folder: Path) -> None:
    from inspect_ai.log import read_eval_log

    log = read_eval_log(str(folder / "refusals.eval"))
    assert (log.status, log.eval.task, log.eval.model) == ("success", "refusals", "runs/rt")
    assert log.samples is not None
    refused, complied, empty = log.samples
    assert [message.text for message in refused.messages] == ["a", "No."]
    assert [message.role for message in complied.messages] == ["user", "assistant"]
    assert complied.output.completion == "Yes \N{SNOWMAN}"
    assert refused.scores is not None
    assert (refused.scores["refusal"].value, refused.scores["refusal"].explanation) == (1.0, "It refuses.")
    assert not empty.scores
    assert empty.metadata["state"] == "empty"
    assert log.results is not None
    (score,) = log.results.scores
    assert score.metrics["mean"].value == 0.5


def test_nothing_is_left_beside_the_three_files(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.json", "refusals.eval", "responses.jsonl"]


def test_metrics_are_read_again_whatever_does_not_change_them_and_whichever_path_the_model_has(
    folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    settings = {"model": str(model_folder), "max_new_tokens": 7, "batch_size": 4, "base_url": None, "plot": None}
    fingerprint = model_fingerprint(str(model_folder))
    save_metrics(folder, "probe", metrics={}, settings=settings, backend={"fingerprint": fingerprint})
    others = {"batch_size": 8, "base_url": "http://127.0.0.1:1", "plot": "x.png", "concurrency": 3, "device": "cpu"}
    assert read_metrics(folder, settings=settings | others) is not None
    copy = tmp_path / "copy"
    copytree(model_folder, copy)
    assert read_metrics(folder, settings=settings | {"model": str(copy)}) is not None
    # An option that the version of the file did not know had its default.
    assert read_metrics(folder, settings=settings | {"new": 1}) is None
    assert read_metrics(folder, settings=settings | {"new": 1}, defaults={"new": 1}) is not None


def test_metrics_belong_to_the_content_of_their_data(folder: Path, model_folder: Path) -> None:
    settings = {"model": str(model_folder), "data": "a.jsonl", "max_examples": None}
    data = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]
    write_json_lines(folder / "responses.jsonl", data)
    for facts in ({"data_hash": data_hash(data)}, {}):  # as this version saves them, and as older ones did
        save_metrics(folder, "probe", metrics={}, settings=settings, backend={}, **facts)
        assert read_metrics(folder, settings=settings, data=data) is not None
        moved = settings | {"data": "b.jsonl", "max_examples": 2}
        assert read_metrics(folder, settings=moved, data=data) is not None
        assert read_metrics(folder, settings=settings, data=[*data[:1], {"prompt": "c", "completion": "e"}]) is None
        assert read_metrics(folder, settings=settings, data=data[::-1]) is None
    assert data_hash(data) != data_hash([{**data[0], "checks": ["x"]}, data[1]])
    assert data_hash([{"prompt": "a", "system": None}]) == data_hash([{"prompt": "a"}])
