"""The labels that were released with Tulu 1, and rows of the same shape."""

from pathlib import Path

import pytest

from response_tuning.people.judgements import Judgement, first_votes, read_tulu_annotations
from response_tuning.people.report.published import published_results
from response_tuning.people.report.summary import RatingSummary, agreements, summarise
from response_tuning.study.reporting.published import published_values
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA

LABELS = SHARED_DATA / "human_eval" / "tulu_1_annotations.csv"
needs_labels = pytest.mark.skipif(not LABELS.is_file(), reason="the released labels are not beside the project")

HEADER = "instance_id,model_a,model_b,completion_a_is_acceptable,completion_b_is_acceptable,preference,rater\n"
ROWS = """one,m,n,yes,no,a-is-better,r1
one,n,m,yes,no,b-is-slightly-better,r2
two,n,m,yes,yes,a-is-slightly-better,r1
two,m,n,yes,yes,tie,r1
three,m,n,no,no,tie,r2
three,n,m,no,yes,a-is-better,r3
"""


def of_pair(judgements: list[Judgement], *runs: str) -> list[Judgement]:
    return [each for each in judgements if set(each.runs) == set(runs)]


def first_rater(judgements: list[Judgement], *runs: str) -> RatingSummary:
    return summarise(first_votes(of_pair(judgements, *runs)), runs)


def values(summary: RatingSummary) -> list[float]:
    """Acceptance of both runs, wins of both, and ties."""
    ((_, sides),) = summary.preferences.items()
    accepted = [summary.acceptance[run].value for run in summary.runs]
    return [*accepted, sides["first"].value, sides["second"].value, sides["tie"].value]


@needs_labels
def test_released_labels_are_reproduced() -> None:
    labels = read_tulu_annotations(LABELS)
    chatgpt = first_rater(labels, "chatgpt", "tulu_65B")
    assert values(chatgpt) == [0.9006, 0.7922, 0.3916, 0.2771, 0.3313]
    human_only = first_rater(labels, "tulu_65B", "tulu_human_only_65B")
    assert values(human_only)[:4] == [0.8133, 0.7229, 0.5, 0.2018]
    twice = of_pair(labels, "chatgpt", "tulu_65B")
    found = agreements(first_votes(twice, 2))
    assert (found["acceptability"].prompts, found["preference"].prompts) == (63, 63)
    assert round(found["acceptability"].same, 4) == 0.9048
    assert round(found["preference"].same, 4) == 0.5556
    assert round(found["preference"].half_for_ties, 4) == 0.6825


@needs_labels
def test_what_nobody_published_is_computed_beside_them() -> None:
    """Alpha and the intervals by prompts: a regression test, with the values of this program."""
    labels = of_pair(read_tulu_annotations(LABELS), "chatgpt", "tulu_65B")
    found = agreements(first_votes(labels, 2))
    for name, value in (("acceptability", 0.572), ("preference", 0.306)):
        agreement = found[name]
        assert agreement.alpha == pytest.approx(value, abs=0.0006)
        assert agreement.low is not None and agreement.high is not None
        assert agreement.low < value - 0.1 and agreement.high > value + 0.1
    strengths = summarise(first_votes(labels), ["chatgpt", "tulu_65B"]).strengths
    assert strengths is not None
    point, low, high = strengths.of_runs["chatgpt"]
    assert 0 < low < point < high


def test_the_tables_of_published_results_are_the_papers() -> None:
    """Ranges of An, Kim & Kim from their rows, and means rounded to a percent, or to half of one."""
    rows = [one for one in published_values() if one.table.startswith("human")]
    wanted = {
        "response tuning: acceptable": ("RT", "acceptable (excellent + sufficient)"),
        "instruction tuning: acceptable": ("IT", "acceptable (excellent + sufficient)"),
        "untuned base models: acceptable": ("untuned", "acceptable (excellent + sufficient)"),
        "response tuning preferred": ("RT vs IT", "RT win"),
        "tie": ("RT vs IT", "tie"),
        "instruction tuning preferred": ("RT vs IT", "IT win"),
    }
    shown = {each.what: each.value for each in published_results("an-kim")}
    assert shown.keys() == wanted.keys()
    for what, (method, metric) in wanted.items():
        values = [100 * one.value for one in rows if (one.method, one.metric) == (method, metric)]
        mean, lowest, highest = (float(part) for part in shown[what].replace("%", "").split() if part[0].isdigit())
        assert (round(min(values)), round(max(values))) == (lowest, highest)
        assert abs(sum(values) / len(values) - mean) <= 0.51
    assert published_results("own") == []


def test_a_raters_later_row_replaces_the_earlier_and_the_first_rater_counts(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(HEADER + ROWS)
    labels = read_tulu_annotations(path)
    assert [(each.prompt, each.rater) for each in labels] == [
        ("one", "r1"),
        ("one", "r2"),
        ("two", "r1"),
        ("three", "r2"),
        ("three", "r3"),
    ]
    assert labels[2].left_wins == 0.5  # the tie came later
    assert values(first_rater(labels, "m", "n")) == [0.6667, 0.3333, 0.3333, 0.0, 0.6667]
    found = agreements(first_votes(labels, 2))
    # One: both say that m is acceptable and n is not, and prefer m. Three: they differ on n, and a tie meets a side.
    assert found["acceptability"].same == 0.25
    assert (found["preference"].same, found["preference"].half_for_ties) == (0.5, 0.75)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER.replace("rater", "who") + ROWS, "has no column 'rater'"),
        (HEADER + ROWS.replace("yes,no,b-is", "maybe,no,b-is"), ":3: completion_a_is_acceptable is 'maybe'"),
        (HEADER + ROWS.replace("tie,r2", "neither,r2"), ":6: preference is 'neither'"),
    ],
)
def test_bad_labels_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        read_tulu_annotations(path)
    assert message in str(caught.value)
