"""MT-Bench: the second turn follows the model's own first answer, and each is scored."""

import json
from pathlib import Path

import pytest

from response_tuning.evaluation.mt_bench.mt_bench import MtBenchResult, evaluate_mt_bench
from response_tuning.evaluation.mt_bench.mt_bench_config import MtBenchConfig
from response_tuning.evaluation.mt_bench.questions import read_questions
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from tests.conftest import SHARED_DATA
from tests.evaluation.judges import SERVED, section, verdict
from tests.inference.faulty_server import FaultyServer, serve


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {"question_id": 1, "category": "writing", "turns": ["Write of tea.", "Now shorter."]},
        {"question_id": 2, "category": "math", "turns": ["What is 1 + 1?", "And 2 + 2?"]},
    ]
    references = [{"question_id": 2, "choices": [{"index": 0, "turns": ["It is 2.", "It is 4."]}]}]
    for name, content in (("questions", rows), ("references", references)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    return tmp_path / "questions.jsonl"


def config(questions: Path, model: FaultyServer, judge: FaultyServer, **others: object) -> MtBenchConfig:
    values = {"judge": SERVED, "judge_base_url": judge.url, "retries": 0, "offline": True, "questions": questions}
    values |= {"references": questions.with_name("references.jsonl"), "output": questions.parent / "out"}
    return MtBenchConfig.model_validate({"model": SERVED, "base_url": model.url, **values, **others})


def evaluated(options: MtBenchConfig) -> MtBenchResult:
    result = evaluate_mt_bench(options)
    assert result is not None
    return result


def answer(question: str, _: int) -> str:
    return f"Answer to: {question}"


def score(question: str, _: int) -> str:
    return verdict(question, "8" if "Write of tea." in question else "4" if "second answer" in question else "6/10")


def test_both_turns_are_answered_in_one_conversation_and_scored(questions: Path) -> None:
    with serve(answer) as model, serve(score) as judge:
        result = evaluated(config(questions, model, judge))
        assert evaluated(config(questions, model, judge)).metrics == result.metrics
        assert (len(model.asked), len(judge.asked)) == (4, 4)
    second = next(body["messages"] for body in model.bodies if body["messages"][-1]["content"] == "Now shorter.")
    assert [message["content"] for message in second[:2]] == ["Write of tea.", "Answer to: Write of tea."]
    assert result.score is not None
    assert (result.score.value, result.score.n) == (6.5, 2)
    assert {name: mean.value for name, mean in result.turns.items()} == {"turn_1": 7.0, "turn_2": 6.0}
    assert {name: mean.value for name, mean in result.categories.items()} == {"writing": 8.0, "math": 5.0}
    assert result.states == {"judged": 4}
    assert read_json(questions.parent / "out" / "metrics.json")["metrics"]["score"]["value"] == 6.5
    shown = next(question for question in judge.asked if "And 2 + 2?" in question)
    assert section(shown, "second reference answer") == "It is 4."
    assert section(shown, "second answer") == "Answer to: And 2 + 2?"
    assert "reference answer" not in next(question for question in judge.asked if "tea" in question)


@pytest.mark.parametrize("text", ["0", "11", "eight", "7 or 8", "[[8]]"])
def test_scores_off_the_scale_are_unparsed(questions: Path, text: str) -> None:
    with serve(answer) as model, serve(lambda question, _: verdict(question, text)) as judge:
        result = evaluated(config(questions, model, judge))
    assert (result.score, result.states) == (None, {"unparsed": 4})


def test_without_a_first_answer_there_is_no_second_question(questions: Path) -> None:
    def some(question: str, before: int) -> str:
        return "status 400" if "1 + 1" in question else answer(question, before)

    with serve(some) as model, serve(score) as judge:
        result = evaluated(config(questions, model, judge))
        assert not any("And 2" in question for question in model.asked)
    assert result.states == {"judged": 2, "no response": 2}
    assert list(result.categories) == ["writing"]


def test_the_published_requests_are_filled_as_they_are(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {
        "single-v1": "Q {question} A {answer}",
        "single-math-v1": "Q {question} R {ref_answer_1} A {answer}",
        "single-v1-multi-turn": "{question_1}|{answer_1}|{question_2}|{answer_2}",
        "single-math-v1-multi-turn": "{ref_answer_1}|{ref_answer_2}|{question_2}|{answer_2}",
    }
    mirror = tmp_path / "mirror" / "mt_bench"
    mirror.mkdir(parents=True)
    rows = [{"name": name, "type": "single", "system_prompt": "S", "prompt_template": t} for name, t in parts.items()]
    (mirror / "judge_prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv(MIRROR_VARIABLE, str(mirror.parent))
    with serve(answer) as model, serve(lambda *_: "Fine. Rating: [[7]]") as judge:
        result = evaluated(config(questions, model, judge, judge_prompts="published"))
    assert result.score is not None
    assert result.score.value == 7.0
    assert "Q What is 1 + 1? R It is 2. A Answer to: What is 1 + 1?" in judge.asked
    assert "It is 2.|It is 4.|And 2 + 2?|Answer to: And 2 + 2?" in judge.asked
    assert all(body["messages"][0] == {"role": "system", "content": "S"} for body in judge.bodies)


def test_bad_questions_are_named(questions: Path) -> None:
    with serve(answer) as server:
        questions.write_text('{"question_id": 1, "turns": ["one"]}\n')
        with pytest.raises(UserError, match=r"questions.jsonl:1: needs 'turns', a list of 2 texts"):
            evaluate_mt_bench(config(questions, server, server))
        questions.write_text('{"turns": ["one", "two"]}\n')
        with pytest.raises(UserError, match=r"questions.jsonl:1: needs a 'question_id'"):
            evaluate_mt_bench(config(questions, server, server))


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
def test_the_published_questions_and_references_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    published = read_questions(MtBenchConfig(model="none", offline=True))
    assert len(published) == 80
    assert sum(bool(question.references) for question in published) == 30
    assert {question.category for question in published if question.references} == {"math", "reasoning", "coding"}
