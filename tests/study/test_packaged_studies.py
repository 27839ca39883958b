"""Every study that comes along runs to its end: laptop scale on a tiny model, six rows and six prompts."""

from html import escape
from pathlib import Path
from typing import Any

import pytest
import yaml

from response_tuning.evaluation.refusals import refusals
from response_tuning.evaluation.refusals.unsafe_prompts import UnsafePrompt
from response_tuning.example import Example, write_examples
from response_tuning.study.definition.packaged import packaged_studies, packaged_text
from response_tuning.study.definition.read_study import Overrides, read_study
from response_tuning.study.planning.expand import plan_of
from response_tuning.study.reporting import report
from response_tuning.study.reporting.report import write_study_report
from response_tuning.study.running.run_study import run_study
from tests.study.executing import AtOnce


def small(study: str, model: Path, data: Path) -> dict[str, Any]:
    """The study's laptop scale, with the tiny model, these data in place of what is fetched, and short responses."""
    values: dict[str, Any] = yaml.safe_load(packaged_text(study))
    laptop = values.pop("scales")["laptop"]
    values = {**values, **laptop, "axes": {**values["axes"], **laptop.get("axes", {})}}
    values["axes"] |= {"model": str(model), "data": str(data)}
    if "baseline" in values.get("report", {}) and "data" in values["report"]["baseline"]:
        values["report"]["baseline"]["data"] = str(data)
    for entry in values.get("include", []):
        entry |= {"data": {"source": str(data), "name": "another"}} if "data" in entry else {}
    values["training"] |= {"epochs": 1, "dtype": "float32"}
    short = {"max_new_tokens": 4, "dtype": "float32"}
    listed = values["evaluations"]
    if isinstance(listed, dict):
        values["evaluations"] = {name: {**(options or {}), **short} for name, options in listed.items()}
    else:
        named = [{each: {}} if isinstance(each, str) else each for each in listed]
        values["evaluations"] = [{name: {**options, **short} for name, options in each.items()} for each in named]
    return values


@pytest.mark.parametrize("study", packaged_studies())
def test_a_packaged_study_runs_to_its_end_on_a_tiny_model(
    tmp_path: Path, model_folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch, study: str
) -> None:
    def load_prompts(name: str, *, offline: bool = False) -> list[UnsafePrompt]:  # noqa: ARG001
        return [
            UnsafePrompt(
                benchmark=name,
                identifier=str(number),
                prompt=f"{name} {number}?",
                category="harm",
                is_unsafe=name != "xstest" or number == 0,
            )
            for number in range(2)
        ]

    monkeypatch.setattr(refusals, "load_unsafe_prompts", load_prompts)
    monkeypatch.setattr(report, "SUFFIXES", (".svg",))
    data, file = tmp_path / "pairs.jsonl", tmp_path / f"{study}.yaml"
    write_examples(data, examples[:8])
    file.write_text(yaml.safe_dump(small(study, model_folder, data)), encoding="utf-8")
    plan = plan_of(read_study(str(file), Overrides(limit=6)))
    outcome = run_study(plan, tmp_path / "study", AtOnce())
    assert outcome.failed == {} and outcome.done == len(plan.stages)
    page = write_study_report(tmp_path / "study")
    text = page.read_text()
    assert escape(plan.question) in text and "Unfinished" not in text and "Nothing can be compared" not in text
    assert f"# {plan.question}" in (page.parent / "report.md").read_text()
    assert list((page.parent / "figures").glob("means-*.svg"))
