"""The checks of the starter sets: every reference passes, and control responses do not count."""

import os
from collections import Counter
from collections.abc import Sequence

import pytest

from response_tuning.data.sources.load_examples import STARTER_HELD_OUT, STARTER_TEST, load_examples
from response_tuning.evaluation.checks.row_checks import RowChecks, read_checks
from response_tuning.example import Example
from tests.evaluation.checks.controls import ControlRow, controls

_HIGHEST_RATE = 0.05
_SETS = (STARTER_HELD_OUT, STARTER_TEST)


def _rows(spec: str) -> list[tuple[ControlRow, RowChecks]]:
    return [(_control_row(example), read_checks(example.checks)) for example in load_examples(spec)]


def _control_row(example: Example) -> ControlRow:
    return ControlRow(example.prompt or "", example.completion, example.model_dump()["kind"])


@pytest.mark.parametrize("spec", _SETS)
def test_every_reference_follows_and_is_correct_also_when_its_code_runs(spec: str) -> None:
    rows = _rows(spec)
    verdicts = [checks.judge(row.prompt, row.completion, run_code=True) for row, checks in rows]
    failed = {row.prompt: verdict.failed for (row, _), verdict in zip(rows, verdicts, strict=True) if verdict.failed}
    assert failed == {}
    assert all(verdict.follows and verdict.correct for verdict in verdicts)


@pytest.mark.parametrize("spec", _SETS)
def test_each_kind_of_control_response_follows_in_at_most_five_percent_of_rows(spec: str) -> None:
    """By default one wording of each kind per row, in turn; with RT_TEST_SWEEP=1 all of them, and a rate for each."""
    sweep = os.environ.get("RT_TEST_SWEEP") == "1"
    rows = _rows(spec)
    asked, counted = Counter[str](), Counter[str]()
    for kind, wording, place, response in controls([row for row, _ in rows], every_wording=sweep):
        row, checks = rows[place]
        name = f"{kind} {wording}" if sweep else kind
        asked[name] += 1
        counted[name] += checks.judge(row.prompt, response).follows
    assert {kind: counted[kind] / asked[kind] for kind in asked if counted[kind] > _HIGHEST_RATE * asked[kind]} == {}


@pytest.mark.parametrize("spec", _SETS)
def test_references_of_other_rows_of_a_kind_follow_in_at_most_five_percent_of_pairs(spec: str) -> None:
    rows = _rows(spec)
    pairs = [(own, other) for own in rows for other in rows if own is not other and own[0].kind == other[0].kind]
    followed = sum(checks.judge(row.prompt, other.completion).follows for (row, checks), (other, _) in pairs)
    assert followed <= _HIGHEST_RATE * len(pairs)


def test_the_test_split_has_ten_prompts_of_each_kind_and_none_of_the_other_splits() -> None:
    kinds = Counter(row.kind for row, _ in _rows(STARTER_TEST))
    assert set(kinds.values()) == {10}
    assert len(kinds) == 16
    own, others = _prompts([STARTER_TEST]), _prompts(["starter", "starter-held-out"])
    assert len(own) == 160
    assert not own & others


def _prompts(specs: Sequence[str]) -> set[str]:
    return {(example.prompt or "").lower() for spec in specs for example in load_examples(spec)}
