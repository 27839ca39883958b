"""Invented instructions: made of the response alone, rated on request, and never asked for twice."""

import re
from pathlib import Path

import pytest

from response_tuning.data.recipes.recipe import Made, run_recipe
from response_tuning.example import Example, read_examples, write_examples
from response_tuning.study.definition.read_study import Overrides, read_study
from response_tuning.study.planning import estimate
from response_tuning.study.planning.expand import plan_of
from response_tuning.study.running import run_job
from response_tuning.support.errors import UserError
from response_tuning.synthesis.invent_prompts import InventPrompts, InventPromptsConfig
from tests.inference.faulty_server import FaultyServer, serve
from tests.synthesis.feedback_log import section_of


def config(tmp_path: Path, server: FaultyServer, **others: object) -> InventPromptsConfig:
    values = {"source": str(tmp_path / "answers.jsonl"), "output": tmp_path / "pairs.jsonl", "retries": 0}
    return InventPromptsConfig.model_validate(
        {"model": "openai-api/faulty/model", "base_url": server.url, **values, **others}
    )


def made(options: InventPromptsConfig) -> Made:
    result = run_recipe(InventPrompts(), options)
    assert result is not None
    return result


def reply(question: str, _: int) -> str:
    answer = section_of(question, "answer")
    if "Rate how good" in question:
        code = re.findall(r"VERDICT ([0-9A-F]{4}):", question)[-1]
        return f"So so.\nVERDICT {code}: {2 if 'mill' in answer else 5}"
    marker = question.rstrip().rpartition("\n")[2]
    faults = {"Odd.": "no marker here", "Shy.": f"{marker}\nI'm sorry, but I can't help with that.", "Big.": "(long)"}
    if answer == "Leak.":
        return f"{marker}\nSay this: Leak."
    return faults.get(answer, f"{marker}\nWhat of {answer.split()[-1]}?")


def test_each_response_gets_the_instruction_that_it_answers(tmp_path: Path) -> None:
    rows = [Example(completion=text) for text in ("By the lake.", "Odd.", "Shy.", "Big.", "Leak.")]
    rows.append(Example(prompt="Where?", completion="In Zug."))
    write_examples(tmp_path / "answers.jsonl", rows)
    with serve(reply) as server:
        result = made(config(tmp_path, server))
        assert len(server.asked) == 5
        assert made(config(tmp_path, server)).states == result.states
        assert len(server.asked) == 5
        assert result.states == {
            "invented": 1,
            "left out, instruction: no marker": 1,
            "left out, instruction: refused": 1,
            "left out, instruction: truncated": 1,
            "left out, instruction: gives the response away": 1,
            "has a prompt already, kept": 1,
        }
        first, last = read_examples(tmp_path / "pairs.jsonl")
        assert (first.prompt, first.completion) == ("What of lake.?", "By the lake.")
        assert (last.prompt, last.model_extra) == ("Where?", {})
        made(config(tmp_path, server, replace=True))
        assert len(server.asked) == 6
    replaced = read_examples(tmp_path / "pairs.jsonl")[-1]
    assert (replaced.prompt, (replaced.model_extra or {})["source_prompt"]) == ("What of Zug.?", "Where?")
    assert not any("Where?" in question for question in server.asked)


def test_pairs_that_are_rated_low_are_dropped(tmp_path: Path) -> None:
    write_examples(tmp_path / "answers.jsonl", [Example(completion="By the lake."), Example(completion="A mill.")])
    with serve(reply) as server:
        result = made(config(tmp_path, server, least_score=4))
        asked = len(server.asked)
        assert asked == 4
        assert made(config(tmp_path, server, least_score=2)).states == {"invented": 2}
        assert len(server.asked) == asked
    assert result.states == {"invented": 1, "left out, rated below --least-score": 1}


def test_a_dry_run_asks_nothing_and_a_source_without_a_usable_answer_is_an_error(tmp_path: Path) -> None:
    write_examples(tmp_path / "answers.jsonl", [Example(completion="Odd.")])
    with serve(reply) as server:
        assert run_recipe(InventPrompts(), config(tmp_path, server, dry_run=True)) is None
        assert server.asked == []
        with pytest.raises(UserError, match="invented no instruction"):
            made(config(tmp_path, server))
    assert not (tmp_path / "pairs.jsonl").exists()


@pytest.mark.parametrize("scale", [None, "gpu", "paper"])
def test_the_study_of_invented_prompts_is_whole_at_each_scale(scale: str | None) -> None:
    plan = plan_of(read_study("invented-prompts", Overrides(scale=scale)))
    made = [stage for stage in plan.stages.values() if stage.words[:2] == ["data", "invent-prompts"]]
    assert len(made) == 1
    trained = [stage for stage in plan.stages.values() if stage.training]
    assert {(stage.training or {})["method"] for stage in trained} == {"rt", "it"}


def test_a_plan_does_not_ask_for_data(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(read_study("invented-prompts"))
    monkeypatch.setattr(estimate, "_MOST", 10)
    monkeypatch.setattr(run_job, "run_job", lambda *_: pytest.fail("a plan made data"))
    monkeypatch.setattr("response_tuning.training.planning.plan.make_plan", lambda *_, **__: pytest.fail("trained"))
    invented = [stage for stage in plan.stages.values() if stage.training and "invented" in str(stage.training["data"])]
    for stage in invented:
        assert "asks a model" in estimate._forecast([stage], plan, Path("nowhere")).note
    assert len(invented) == 2
