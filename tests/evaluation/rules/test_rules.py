"""Rule keeping: each rule is judged, and a response passes only if it keeps all of them."""

from pathlib import Path

import pytest

from response_tuning.evaluation.rules.rule_keeping import RulesResult, evaluate_rules
from response_tuning.evaluation.rules.rules_config import RulesConfig
from response_tuning.example import Example, Turn, split_system, write_examples
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from tests.evaluation.judges import SERVED, section, verdict
from tests.inference.faulty_server import FaultyServer, serve

SYSTEM = "You are a guide.\n- Mention the lake.\n- Answer shortly."
RULES = ["Mention the lake.", "Answer shortly."]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    row = {"completion": "x", "system": SYSTEM, "rules": RULES}
    rows = [{**row, "prompt": f"{SYSTEM}\n\nWhat is in town {number}?"} for number in range(3)]
    path = tmp_path / "rules.jsonl"
    write_examples(path, [Example.model_validate(row) for row in rows])
    return path


def config(tmp_path: Path, data: Path, model: FaultyServer, judge: FaultyServer) -> RulesConfig:
    values = {"judge": SERVED, "judge_base_url": judge.url, "retries": 0, "output": tmp_path / "out"}
    return RulesConfig.model_validate({"model": SERVED, "base_url": model.url, "data": data, **values})


def evaluated(options: RulesConfig) -> RulesResult:
    result = evaluate_rules(options)
    assert result is not None
    return result


def by_lake(question: str, _: int) -> str:
    rule, answer = section(question, "rule"), section(question, "answer")
    return verdict(question, "KEPT" if rule == RULES[1] or "lake" in answer else "BROKEN")


def test_rates_by_response_and_by_rule(tmp_path: Path, data: Path) -> None:
    with serve(lambda question, _: "A mill." if "2" in question else "By the lake.") as model, serve(by_lake) as judge:
        options = config(tmp_path, data, model, judge)
        result = evaluated(options)
        assert (len(model.asked), len(judge.asked)) == (3, 6)
        assert evaluated(options).metrics == result.metrics
        assert (len(model.asked), len(judge.asked)) == (3, 6)
    assert model.bodies[0]["messages"][0]["content"] == SYSTEM
    assert sorted(model.asked) == [f"What is in town {number}?" for number in range(3)]
    assert result.by_response is not None
    assert result.by_rule is not None
    assert (result.by_response.value, result.by_response.n) == (round(2 / 3, 4), 3)
    assert (result.by_rule.value, result.by_rule.n, result.rules) == (round(5 / 6, 4), 3, 6)
    assert read_json(tmp_path / "out" / "metrics.json")["metrics"]["by_rule"]["value"] == round(5 / 6, 4)
    assert [row["kept"] for row in result.rows] == [[True, True], [True, True], [False, True]]


def test_a_response_without_a_verdict_on_each_rule_is_no_pass_and_no_failure(tmp_path: Path, data: Path) -> None:
    def unsure(question: str, before: int) -> str:
        return "perhaps" if "town 0" in question and RULES[0] in question else by_lake(question, before)

    with (
        serve(lambda question, _: "status 400" if "2" in question else "By the lake.") as model,
        serve(unsure) as judge,
    ):
        result = evaluated(config(tmp_path, data, model, judge))
    assert result.by_response is not None
    assert (result.by_response.value, result.by_response.n) == (1.0, 1)
    assert (result.rules, result.without_verdict, result.without_response) == (3, 1, 1)
    assert [row["values"].get("rules_kept") for row in result.rows] == [[1, 1], [2, 2], None]


def test_a_local_run_answers_under_its_system_prompt(tmp_path: Path, data: Path, model_folder: Path) -> None:
    with serve(by_lake) as judge:
        here = {"model": str(model_folder), "max_new_tokens": 4, "dtype": "float32", "device": "cpu"}
        result = evaluated(config(tmp_path, data, judge, judge).model_copy(update=here))
    assert result.without_response == 0
    assert result.rules == 6


def test_data_without_rules_are_refused(tmp_path: Path) -> None:
    write_examples(tmp_path / "bare.jsonl", [Example(prompt="q", completion="a")])
    with serve(by_lake) as server:
        options = config(tmp_path, tmp_path / "bare.jsonl", server, server)
        with pytest.raises(UserError, match=r"bare.jsonl: row 1 has no 'rules'"):
            evaluate_rules(options)
        with pytest.raises(UserError, match="needs --data"):
            evaluate_rules(options.model_copy(update={"data": None}))


def test_the_system_text_is_the_head_of_the_first_turn() -> None:
    def example(**fields: object) -> Example:
        return Example.model_validate({"completion": "a", **fields})

    turns = [{"role": "user", "content": "S\n\nHi"}, {"role": "assistant", "content": "Hello"}]
    assert split_system(example(prompt="S\n\nq", system="S")) == ("q", (), "S")
    assert split_system(example(prompt="Sq", system="S")) == ("Sq", (), "S")
    assert split_system(example(prompt="S\n\nq")) == ("S\n\nq", (), None)
    assert split_system(example(system="S")) == (None, (), "S")
    expected = (Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello"))
    assert split_system(example(prompt="q", earlier_turns=turns, system="S")) == ("q", expected, "S")
