"""Every line that ``tests/mutants.py`` changes exists, so that no mutant is an unchanged module."""

import pytest

from tests.mutants import ROOT, TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_every_mutant_changes_one_place(name: str) -> None:
    target = TARGETS[name]
    text = (ROOT / "src" / "response_tuning" / target.module).read_text(encoding="utf-8")
    assert {before: text.count(before) for before, _ in target.mutants} == {before: 1 for before, _ in target.mutants}
    assert all((ROOT / path).exists() for path in target.tests)
