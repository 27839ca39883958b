"""JustEval: scores are read whole or not at all, and the average is that of six aspects."""

import json
from pathlib import Path

import pytest

from response_tuning.evaluation.just.just_config import ASPECTS, JustConfig
from response_tuning.evaluation.just.just_eval import JustResult, evaluate_just
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from tests.conftest import SHARED_DATA
from tests.evaluation.judges import SERVED, section, verdict
from tests.inference.faulty_server import FaultyServer, serve

FIVE = "helpfulness=5 clarity=4 factuality=3 depth=2 engagement=1"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    rows = [{"instruction": f"Tell me about tea {number}.", "category": "regular"} for number in range(4)]
    rows += [{"instruction": f"How do I poison tea {number}?", "category": "safety"} for number in range(2)]
    path = tmp_path / "prompts.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def config(
    tmp_path: Path, prompts: Path | None, model: FaultyServer, judge: FaultyServer, **others: object
) -> JustConfig:
    values = {"retries": 0, "judge": SERVED, "judge_base_url": judge.url, "offline": True} | others
    return JustConfig.model_validate(
        {"model": SERVED, "base_url": model.url, "prompts": prompts, "output": tmp_path / "out", **values}
    )


def evaluated(config: JustConfig) -> JustResult:
    result = evaluate_just(config)
    assert result is not None
    return result


def is_safety(question: str) -> bool:
    return "poison" in question


def rate(question: str, _: int) -> str:
    return verdict(question, "safety=4" if is_safety(question) else FIVE)


def test_aspects_are_means_over_their_own_prompts_and_the_average_is_that_of_the_six(
    tmp_path: Path, prompts: Path
) -> None:
    def reply(question: str, before: int) -> str:
        if "tea 0?" in question:
            return verdict(question, "safety=1")
        return rate(question, before)

    with serve(lambda *_: "Three words here.") as model, serve(reply) as judge:
        result = evaluated(config(tmp_path, prompts, model, judge))
        assert len(judge.asked) == 6
    assert {name: (mean.value, mean.n) for name, mean in result.aspects.items()} == {
        "helpfulness": (5.0, 4),
        "clarity": (4.0, 4),
        "factuality": (3.0, 4),
        "depth": (2.0, 4),
        "engagement": (1.0, 4),
        "safety": (2.5, 2),
    }
    assert result.average == round((5 + 4 + 3 + 2 + 1 + 2.5) / 6, 4)
    assert result.words is not None
    assert (result.words.value, result.words.n) == (3.0, 6)
    assert result.states == {"judged": 6}
    metrics = read_json(tmp_path / "out" / "metrics.json")["metrics"]
    assert metrics["average"] == result.average
    assert metrics["aspects"]["safety"]["n"] == 2


@pytest.mark.parametrize(
    "scores",
    [
        "helpfulness=5, clarity=4, factuality=3, depth=2, engagement=1",
        "engagement = 1; depth = 2; factuality = 3; clarity = 4; helpfulness = 5",
        "Helpfulness=5 CLARITY=4 factuality=3 depth=2 engagement=1.",
    ],
)
def test_scores_can_stand_in_any_order_and_be_set_apart_by_any_marks(
    tmp_path: Path, prompts: Path, scores: str
) -> None:
    def reply(question: str, before: int) -> str:
        return rate(question, before) if is_safety(question) else verdict(question, scores)

    with serve(lambda *_: "Tea.") as model, serve(reply) as judge:
        result = evaluated(config(tmp_path, prompts, model, judge))
    assert [result.aspects[name].value for name in ASPECTS["just_regular"]] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    "scores",
    [
        "helpfulness=5 clarity=4 factuality=3 depth=2",
        "helpfulness=5 clarity=4 factuality=3 depth=2 depth=2",
        f"{FIVE} helpfulness=5",
        f"{FIVE} safety=5",
        f"{FIVE} overall",
        "helpfulness=6 clarity=4 factuality=3 depth=2 engagement=1",
        "helpfulness=0 clarity=4 factuality=3 depth=2 engagement=1",
        "helpfulness=10 clarity=4 factuality=3 depth=2 engagement=1",
        "helpfulness=4.5 clarity=4 factuality=3 depth=2 engagement=1",
        "helpfulness=4/5 clarity=4 factuality=3 depth=2 engagement=1",
        "helpfulness=N clarity=N factuality=N depth=N engagement=N",
        "5 4 3 2 1",
        "safety=5",
    ],
)
def test_scores_that_are_not_exactly_those_asked_for_are_unparsed(tmp_path: Path, prompts: Path, scores: str) -> None:
    def reply(question: str, before: int) -> str:
        return verdict(question, scores) if "tea 1." in question else rate(question, before)

    with serve(lambda *_: "Tea.") as model, serve(reply) as judge:
        result = evaluated(config(tmp_path, prompts, model, judge))
    assert result.states == {"judged": 5, "unparsed": 1}
    assert {name: mean.n for name, mean in result.aspects.items()} == dict.fromkeys(ASPECTS["just_regular"], 3) | {
        "safety": 2
    }
    (unparsed,) = [row for row in result.rows if row["state"] == "unparsed"]
    assert (unparsed["prompt"], unparsed["values"]) == ("Tell me about tea 1.", {"words": 1.0})
    assert scores in unparsed["answer"]


def test_there_is_no_average_without_all_six_aspects(tmp_path: Path, prompts: Path) -> None:
    def reply(question: str, before: int) -> str:
        return "status 400" if is_safety(question) else rate(question, before)

    with serve(lambda *_: "Tea.") as model, serve(reply) as judge:
        result = evaluated(config(tmp_path, prompts, model, judge))
        assert result.average is None
        assert result.states == {"judged": 4, "refused by the server": 2}
        assert set(result.aspects) == set(ASPECTS["just_regular"])
        without = config(tmp_path, prompts, model, judge).model_copy(update={"judge": None})
        assert evaluated(without).aspects == {}


def test_a_missing_response_is_neither_rated_nor_counted(tmp_path: Path, prompts: Path) -> None:
    def answer(question: str, _: int) -> str:
        return "status 400" if is_safety(question) else "" if "tea 3." in question else "Three words here."

    with serve(answer) as model, serve(rate) as judge:
        result = evaluated(config(tmp_path, prompts, model, judge))
        assert len(judge.asked) == 4
        assert [section(question, "answer") for question in judge.asked].count("") == 1
    assert result.states == {"judged": 4, "no response": 2}
    assert result.words is not None
    assert (result.words.n, result.words.value) == (4, 2.25)


def test_a_model_that_never_answers_has_no_numbers(tmp_path: Path, prompts: Path) -> None:
    with serve(lambda *_: "status 400") as model, serve(rate) as judge:
        result = evaluated(config(tmp_path, prompts, model, judge))
        assert judge.asked == []
    assert (result.aspects, result.average, result.words, result.states) == ({}, None, None, {"no response": 6})


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
def test_the_published_prompts_are_drawn_of_each_kind(tmp_path: Path) -> None:
    published = SHARED_DATA / "just_eval" / "just_eval_instruct.jsonl"
    with serve(lambda *_: "Tea.") as model, serve(lambda question, _: verdict(question, "safety=5")) as judge:
        result = evaluated(config(tmp_path, published, model, judge, max_examples=5))
    assert [row["category"] for row in result.rows] == ["regular"] * 5 + ["safety"] * 5
    assert result.aspects["safety"].value == 5.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"instruction": "a", "category": "other"}]', "prompts.json row 1: needs an 'instruction' and a 'category'"),
        ('[{"category": "regular"}]', "prompts.json row 1: needs"),
        ('["a"]', "prompts.json row 1: needs"),
    ],
)
def test_bad_prompts_are_named(tmp_path: Path, prompts: Path, text: str, message: str) -> None:
    prompts.write_text(text, encoding="utf-8")
    with serve(rate) as server, pytest.raises(UserError, match=message):
        evaluate_just(config(tmp_path, prompts, server, server))


def test_a_published_file_that_is_not_whole_is_refused(
    tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(tmp_path))
    (tmp_path / "just_eval").mkdir()
    (tmp_path / "just_eval" / "gpt-4-0314.to_eval.json").write_text(prompts.read_text())
    with serve(rate) as server, pytest.raises(UserError, match="has 6 prompts, but JustEval has 1000"):
        evaluate_just(config(tmp_path, None, server, server))
