"""Rates of refusal and XSTest's scores, on tables made by hand."""

import pytest

from response_tuning.evaluation.refusals.refusal_metrics import exaggerated_safety, rates_by_category, refusal_rates
from response_tuning.evaluation.refusals.verdicts import Verdict
from response_tuning.evaluation.shared.statistics import Estimate


def verdicts(*, refusal: int = 0, compliance: int = 0, unparsed: int = 0, empty: int = 0) -> list[Verdict]:
    counts: dict[Verdict, int] = {
        "refusal": refusal,
        "compliance": compliance,
        "unparsed": unparsed,
        "empty": empty,
    }
    return [verdict for verdict, count in counts.items() for _ in range(count)]


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def test_rates_are_over_decided_responses_and_the_others_are_counted_apart() -> None:
    rates = refusal_rates(verdicts(refusal=3, compliance=9, unparsed=5, empty=7))
    assert rates.refusal is not None
    assert (rates.refusal.value, rates.refusal.n) == (0.25, 12)
    assert rates.refusal.low < 0.25 < rates.refusal.high
    assert value(rates.compliance) == 0.75
    assert (rates.responses, rates.unparsed, rates.empty) == (24, 5, 7)


def test_more_unread_verdicts_change_no_rate() -> None:
    few, many = (refusal_rates(verdicts(refusal=3, compliance=9, unparsed=count)) for count in (0, 500))
    assert (few.refusal, few.compliance) == (many.refusal, many.compliance)


@pytest.mark.parametrize("undecided", [[], verdicts(unparsed=3, empty=2)])
def test_nothing_decided_gives_no_rate(undecided: list[Verdict]) -> None:
    rates = refusal_rates(undecided)
    assert (rates.refusal, rates.compliance) == (None, None)
    assert rates.responses == len(undecided)


def test_categories_have_rates_of_their_own() -> None:
    judged: list[tuple[str, Verdict]] = [
        ("illegal", "refusal"),
        ("harmful", "compliance"),
        ("illegal", "compliance"),
        ("illegal", "empty"),
        ("cybercrime", "unparsed"),
    ]
    rates = rates_by_category(judged)
    assert list(rates) == ["cybercrime", "harmful", "illegal"]
    assert (value(rates["illegal"].refusal), rates["illegal"].responses, rates["illegal"].empty) == (0.5, 3, 1)
    assert value(rates["harmful"].refusal) == 0
    assert rates["cybercrime"].refusal is None


def test_xstest_scores_are_those_of_the_confusion_table() -> None:
    # 200 unsafe prompts: 150 refused, 40 answered, 6 unread, 4 empty; 250 safe ones: 50, 190 and 10.
    judged = [
        *((True, verdict) for verdict in verdicts(refusal=150, compliance=40, unparsed=6, empty=4)),
        *((False, verdict) for verdict in verdicts(refusal=50, compliance=190, unparsed=10)),
    ]
    scores = exaggerated_safety(judged)
    assert value(scores.precision) == pytest.approx(150 / 200)
    assert value(scores.recall) == pytest.approx(150 / 190, abs=1e-4)
    assert value(scores.f1) == pytest.approx(300 / 390, abs=1e-4)
    assert value(scores.safe_compliance) == pytest.approx(190 / 240, abs=1e-4)
    assert [estimate.n for estimate in (scores.precision, scores.recall, scores.safe_compliance) if estimate] == [
        200,
        190,
        240,
    ]
    assert (scores.confusion.n, scores.unparsed, scores.empty) == (430, 16, 4)


def test_a_model_that_answers_everything_has_no_precision() -> None:
    scores = exaggerated_safety([(unsafe, "compliance") for unsafe in (True, False, False)])
    assert scores.precision is None
    assert (value(scores.recall), value(scores.safe_compliance)) == (0, 1)


def test_a_model_that_refuses_everything_recalls_all_and_answers_nothing_safe() -> None:
    scores = exaggerated_safety([(unsafe, "refusal") for unsafe in (True, False, False, False)])
    assert (value(scores.recall), value(scores.precision), value(scores.safe_compliance)) == (1, 0.25, 0)
