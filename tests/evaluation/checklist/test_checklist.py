"""The checklist comparison: both orders, with the checklist and without it, on conversations."""

from pathlib import Path

import pytest

from response_tuning.evaluation.checklist.checklist import ChecklistResult, evaluate_checklist
from response_tuning.evaluation.checklist.checklist_config import ChecklistConfig
from response_tuning.example import Example, write_examples
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from tests.evaluation.judges import SERVED, section, verdict
from tests.inference.faulty_server import FaultyServer, serve

WANT = "Names a number."


@pytest.fixture
def data(tmp_path: Path) -> Path:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows: list[dict[str, object]] = [
        {"prompt": f"How many {number}?", "completion": "4", "rejected": "Many.", "preferences": [WANT]}
        for number in range(3)
    ]
    rows[0]["earlier_turns"] = turns
    path = tmp_path / "pairs.jsonl"
    write_examples(path, [Example.model_validate(row) for row in rows])
    return path


def config(tmp_path: Path, data: Path, model: FaultyServer, judge: FaultyServer, **others: object) -> ChecklistConfig:
    values: dict[str, object] = {
        "data": data,
        "reference": "rejected",
        "judge": SERVED,
        "judge_base_url": judge.url,
        "retries": 0,
    } | others
    return ChecklistConfig.model_validate(
        {"model": SERVED, "base_url": model.url, "output": tmp_path / "out", **values}
    )


def evaluated(options: ChecklistConfig) -> ChecklistResult:
    result = evaluate_checklist(options)
    assert result is not None
    return result


def by_numbers(question: str, _: int) -> str:
    """Prefers what has a digit if the checklist asks for one; otherwise always the first answer."""
    if WANT not in question:
        return verdict(question, "A")
    first, second = ("4" in section(question, f"answer {name}") for name in "AB")
    return verdict(question, "TIE" if first == second else "A" if first else "B")


def test_wins_ties_and_losses_with_the_checklist_and_without(tmp_path: Path, data: Path) -> None:
    def answer(question: str, _: int) -> str:
        return "Some." if "2" in question else "About 4."

    with serve(answer) as model, serve(by_numbers) as judge:
        options = config(tmp_path, data, model, judge)
        result = evaluated(options)
        assert (len(model.asked), len(judge.asked)) == (3, 12)
        assert evaluated(options).metrics == result.metrics
        assert (len(model.asked), len(judge.asked)) == (3, 12)
    roles = [[message["role"] for message in body["messages"]] for body in model.bodies]
    assert sorted(roles, key=len) == [["user"], ["user"], ["user", "assistant", "user"]]
    seen, unseen = result.outcomes["with checklist"], result.outcomes["without checklist"]
    assert (seen.wins, seen.ties, seen.losses, seen.preference.value) == (2, 1, 0, round(2.5 / 3, 4))
    # A judge that always takes the first answer contradicts itself: three ties.
    assert (unseen.wins, unseen.ties, unseen.losses, unseen.agreement.value) == (0, 3, 0, 0.0)
    saved = read_json(tmp_path / "out" / "metrics.json")["metrics"]
    assert saved["with_checklist"]["wins"] == 2
    assert [row["values"]["win"] for row in result.rows] == [1.0, 1.0, 0.5]
    shown = next(question for question in judge.asked if "How many 0?" in question)
    assert section(shown, "conversation") == "User: Hi\n\nAssistant: Hello"


def test_the_reference_may_be_a_model_that_answers_the_same_requests(
    tmp_path: Path, data: Path, model_folder: Path
) -> None:
    with serve(lambda *_: "About 4.") as model, serve(by_numbers) as judge:
        here = {"reference": str(model_folder), "max_new_tokens": 4, "dtype": "float32", "device": "cpu"}
        result = evaluated(config(tmp_path, data, model, judge, **here))
    assert result.outcomes["with checklist"].wins + result.outcomes["with checklist"].ties == 3
    assert all(row["reference"] for row in result.rows)


def test_what_has_no_verdict_or_no_response_is_counted(tmp_path: Path, data: Path) -> None:
    def answer(question: str, _: int) -> str:
        return "status 400" if "1" in question else "About 4."

    def judge_some(question: str, before: int) -> str:
        return "no verdict" if WANT not in question else by_numbers(question, before)

    with serve(answer) as model, serve(judge_some) as judge:
        result = evaluated(config(tmp_path, data, model, judge))
    assert list(result.outcomes) == ["with checklist"]
    assert (result.outcomes["with checklist"].wins, result.without_verdict, result.without_response) == (2, 4, 1)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"data": None}, "needs --data"),
        ({"reference": None}, "needs --reference"),
        ({"data": "bare"}, "row 1 has no 'preferences'"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, data: Path, others: dict[str, object], message: str) -> None:
    if others.get("data") == "bare":
        write_examples(tmp_path / "bare.jsonl", [Example(prompt="q", completion="a")])
        others = {"data": tmp_path / "bare.jsonl"}
    with serve(by_numbers) as server, pytest.raises(UserError, match=message):
        evaluate_checklist(config(tmp_path, data, server, server).model_copy(update=others))
