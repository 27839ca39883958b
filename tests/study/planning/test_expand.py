"""Cells and stages: each stage once, keyed by what its result depends on."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from response_tuning.example import Example, write_examples
from response_tuning.study.definition.read_study import Overrides, read_study
from response_tuning.study.planning.expand import plan_of
from response_tuning.study.planning.plan import StudyPlan

Values = dict[str, Any]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    write_examples(path, [Example(prompt=f"Count to {n}.", completion=f"To {n}.") for n in range(20)])
    return path


def planned(tmp_path: Path, values: Values, **overrides: Any) -> StudyPlan:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return plan_of(read_study(str(path), Overrides(**overrides)))


def study(data: Path, **axes: Any) -> Values:
    values = {"model": "embedded", "data": str(data), "method": ["base", "rt", "it"], **axes}
    return {"axes": values, "seeds": [0, 1], "evaluations": ["probe"]}


def kinds(plan: StudyPlan) -> dict[str, int]:
    stages = [stage.kind for stage in plan.stages.values()]
    return {kind: stages.count(kind) for kind in ("data", "run", "evaluation")}


def test_the_base_model_is_measured_once_for_all_seeds_and_data_are_prepared_once(tmp_path: Path, data: Path) -> None:
    plan = planned(tmp_path, study(data, rows=10))
    assert len(plan.cells) == 5
    assert kinds(plan) == {"data": 1, "run": 4, "evaluation": 5}


def test_axes_that_a_method_ignores_make_no_further_cells(tmp_path: Path, data: Path) -> None:
    plan = planned(tmp_path, study(data, refusals=[0, 5], instructions=[0, 3, "all", "shuffled"], lora_rank=[2, 4]))
    by_method = [cell.arm["method"] for cell in plan.cells]
    assert {name: by_method.count(name) for name in set(by_method)} == {"base": 1, "it": 8, "rt": 32}


def test_rt_with_every_instruction_is_instruction_tuning_and_is_trained_once(tmp_path: Path, data: Path) -> None:
    plan = planned(tmp_path, study(data, instructions=[0, "all"]))
    assert kinds(plan) == {"data": 0, "run": 4, "evaluation": 5}


def test_another_seed_model_or_evaluation_adds_stages_and_changes_none(tmp_path: Path, data: Path) -> None:
    values = study(data, rows=10)
    before = planned(tmp_path, values).stages
    for change in (
        {"seeds": [0, 1, 2]},
        {"evaluations": ["probe", "ifeval"]},
        {"axes": {**values["axes"], "lora_rank": [16, 32]}},
    ):
        after = planned(tmp_path, {**values, **change}).stages
        assert before.keys() < after.keys()


def test_a_key_depends_on_the_content_of_data_and_on_no_name_or_speed(tmp_path: Path, data: Path) -> None:
    values = study(data)
    before = [*planned(tmp_path, values).stages]
    moved = data.rename(tmp_path / "moved.jsonl")
    values["axes"]["data"] = str(moved)
    assert [*planned(tmp_path, {**values, "training": {"micro_batch_tokens": 64}}).stages] == before
    assert [*planned(tmp_path, {**values, "training": {"epochs": 9}}).stages][1] != before[1]
    moved.write_text(moved.read_text() + '{"prompt": "New", "completion": "new"}\n')
    after = [*planned(tmp_path, values).stages]
    assert len(set(before) & set(after)) == 1  # the probe of the base model


def test_include_adds_combinations_and_exclude_removes_them(tmp_path: Path, data: Path) -> None:
    values = study(data, refusals=0)
    values["include"] = [{"method": "rt", "refusals": [5, 10]}]
    values["exclude"] = [{"method": ["it"]}]
    plan = planned(tmp_path, values)
    arms = {(cell.arm["method"], cell.arm.get("refusals")) for cell in plan.cells}
    assert arms == {("base", None), ("rt", 0), ("rt", 5), ("rt", 10)}


def test_a_reference_that_is_the_twin_is_the_baseline_of_the_same_seed(tmp_path: Path, data: Path) -> None:
    values = {**study(data), "evaluations": [{"alpaca": {"reference": "twin"}}]}
    assert planned(tmp_path, values).left_out == ["alpaca: it needs a judge (--judge PROVIDER/NAME)."]
    plan = planned(tmp_path, values, judge="openai/gpt-5-mini")
    measured = {(cell.arm["method"], cell.seed): cell for cell in plan.cells}
    assert measured["it", 0].evaluations == {}
    for seed in (0, 1):
        stage = next(one for one in plan.stages.values() if one.name == measured["rt", seed].evaluations["alpaca"])
        reference = stage.words[stage.words.index("--reference") + 1]
        assert measured["it", seed].run in reference
        assert any(plan.stages[key].name in reference for key in stage.needs)


def test_the_order_of_stages_is_one_in_which_they_can_run(tmp_path: Path, data: Path) -> None:
    plan = planned(tmp_path, study(data, method=["base", "rt", "it", "sftmix"], rows=10, instructions=[0, 4]))
    seen: set[str] = set()
    for key, stage in plan.stages.items():
        assert set(stage.needs) <= seen
        seen.add(key)
    assert sum("--sftmix-from" in stage.words for stage in plan.stages.values()) == 2
