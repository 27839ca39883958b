"""Study files: what they may say, and errors that name file and line."""

from pathlib import Path

import pytest

from response_tuning.study.definition.packaged import packaged_studies
from response_tuning.study.definition.read_study import Overrides, read_study
from response_tuning.study.planning.expand import plan_of
from response_tuning.support.errors import UserError

GOOD = """\
question: Does it matter?
axes:
  model: embedded
  data: starter
  method: [base, rt, it]
seeds: [0, 1]
training:
  epochs: 2
evaluations:
  - probe: {max_new_tokens: 8}
scales:
  small:
    seeds: 5
    training: {lora_rank: 4}
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def message(tmp_path: Path, text: str, **overrides: str) -> list[str]:
    with pytest.raises(UserError) as error:
        plan_of(read_study(write(tmp_path, text), Overrides(**overrides)))  # type: ignore[arg-type]
    return [line.removeprefix(f"{tmp_path}/") for line in str(error.value).splitlines()]


def test_a_scale_replaces_fields_and_merges_mappings(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, GOOD), Overrides(scale="small", model=("a/b", "c/d")))
    assert study.file.seeds == [5]
    assert study.file.training == {"epochs": 2, "lora_rank": 4}
    assert study.file.axes["model"] == ["a/b", "c/d"]
    assert message(tmp_path, GOOD, scale="huge") == ["study.yaml has no scale 'huge'. It has small."]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("question", "qestion", "study.yaml:1: there is no field 'qestion'."),
        ("seeds: [0, 1]", "seeds: [0, one]", "study.yaml:6: seeds.1 is 'one': it should be a valid integer"),
        ("  epochs: 2", "  epochs: 0", "study.yaml:8: --epochs is 0: it should be greater than or equal to 1."),
        ("  epochs: 2", "  epoch: 2", "study.yaml:8: there is no option 'epoch' of rt train"),
        ("[base, rt, it]", "[base, tr]", "study.yaml:5: there is no method 'tr'."),
        ("max_new_tokens", "max_tokens", "study.yaml:10: probe: there is no option 'max_tokens'."),
        ("tokens: 8", "tokens: -1", "study.yaml:10: probe: --max-new-tokens is -1"),
        ("- probe", "- prob", "study.yaml:10: there is no evaluation 'prob'."),
        ("  data: starter\n", "", "study.yaml:2: the axis 'data' is missing, which the method rt needs."),
        ("  data: starter", "  date: starter", "study.yaml:4: there is no axis 'date'"),
        ("starter", "{recipe: single-tusk}", "study.yaml:4: data single-tusk: there is no such recipe."),
        ("seeds: [0, 1]", "seeds: 0\nexclude: [{metod: rt}]", "study.yaml:7: exclude names 'metod'"),
        ("  epochs: 2", "  epochs: 2\n  epochs: 3", "study.yaml:9: option 'epochs' is set in line 8 already."),
        ("seeds: [0, 1]", "seeds: 0\nreport: {metrics: {probes: [x]}}", "study.yaml:7: the report names 'probes'"),
    ],
)
def test_an_error_names_the_line_and_what_is_wrong_there(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in GOOD
    assert any(line.startswith(expected) for line in message(tmp_path, GOOD.replace(old, new, 1)))


def test_an_error_in_a_scale_names_its_line(tmp_path: Path) -> None:
    wrong = GOOD.replace("lora_rank: 4", "lora_rank: 0")
    plan_of(read_study(write(tmp_path, wrong)))
    assert message(tmp_path, wrong, scale="small")[0].startswith("study.yaml:14: --lora-rank is 0")


def test_a_value_of_an_axis_that_does_not_fit_is_found_in_its_list(tmp_path: Path) -> None:
    axis = "  method: [base, rt, it]\n  learning_rate:\n    - 1.0e-4\n    - -1.0"
    lines = message(tmp_path, GOOD.replace("  method: [base, rt, it]", axis))
    assert lines == ["study.yaml:8: --learning-rate is -1.0: it should be greater than 0."]


@pytest.mark.parametrize("name", packaged_studies())
@pytest.mark.parametrize("scale", ["laptop", "gpu", "paper"])
def test_every_packaged_study_has_every_scale_and_arms_to_compare(name: str, scale: str) -> None:
    plan = plan_of(read_study(name, Overrides(scale=scale, judge="openai/gpt-5-mini")))
    assert plan.question and plan.notes
    baseline = plan.report.baseline
    assert any(all(cell.arm.get(axis) == value for axis, value in baseline.items()) for cell in plan.cells)
