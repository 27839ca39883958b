"""Two-by-two tables, against figures worked out by hand."""

import numpy as np
import pytest

from response_tuning.evaluation.shared.confusion import Confusion, confusion
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


def test_pairs_are_counted_by_prediction_and_truth() -> None:
    pairs = [(True, True)] * 4 + [(True, False)] * 3 + [(False, True)] * 2 + [(False, False)]
    assert confusion(pairs) == Confusion(true_positives=4, false_positives=3, false_negatives=2, true_negatives=1)


def test_scores_of_a_table_are_those_worked_out_by_hand() -> None:
    table = Confusion(true_positives=40, false_positives=10, false_negatives=20, true_negatives=130)
    assert value(table.accuracy) == pytest.approx(170 / 200)
    assert value(table.precision) == pytest.approx(40 / 50)
    assert value(table.recall) == pytest.approx(40 / 60, abs=1e-4)
    assert value(table.specificity) == pytest.approx(130 / 140, abs=1e-4)
    assert value(table.f1) == pytest.approx(80 / 110, abs=1e-4)
    # Chance agrees on 50 * 60 / 200 positives and 150 * 140 / 200 negatives: 120 of 200.
    assert value(table.kappa) == pytest.approx((0.85 - 0.6) / (1 - 0.6))


def test_each_share_says_how_many_it_is_a_share_of() -> None:
    table = Confusion(true_positives=40, false_positives=10, false_negatives=20, true_negatives=130)
    estimates = (table.accuracy, table.precision, table.recall, table.specificity, table.f1, table.kappa)
    assert [estimate.n for estimate in estimates if estimate] == [200, 50, 60, 140, 200, 200]


def test_a_kappa_from_a_textbook() -> None:
    # Two readers of fifty grant proposals (the example of Cohen's kappa in Wikipedia): kappa 0.4.
    assert value(Confusion(20, 5, 10, 15).kappa) == pytest.approx(0.4)


def test_kappa_is_one_for_full_agreement_zero_for_chance_and_below_for_less() -> None:
    assert value(Confusion(7, 0, 0, 13).kappa) == 1
    assert value(Confusion(25, 25, 25, 25).kappa) == 0
    assert value(Confusion(0, 10, 10, 0).kappa) == -1


def test_what_a_table_does_not_define_is_none() -> None:
    nothing_predicted = Confusion(true_positives=0, false_positives=0, false_negatives=5, true_negatives=5)
    assert nothing_predicted.precision is None
    assert value(nothing_predicted.recall) == 0
    assert value(nothing_predicted.f1) == 0
    assert Confusion(0, 0, 0, 9).kappa is None
    assert Confusion(0, 0, 0, 9).f1 is None
    assert Confusion(0, 0, 0, 0).accuracy is None


def test_the_interval_of_a_share_is_that_of_the_resampled_mean() -> None:
    accuracy = Confusion(120, 40, 20, 220).accuracy
    mean = estimate_mean([1.0] * 340 + [0.0] * 60)
    assert accuracy is not None
    assert (accuracy.value, accuracy.n) == (mean.value, mean.n)
    assert accuracy.low == pytest.approx(mean.low, abs=0.005)
    assert accuracy.high == pytest.approx(mean.high, abs=0.005)


def test_a_score_of_none_or_all_has_an_interval_with_width() -> None:
    # 20 refusals, all of unsafe prompts: Wilson's interval for 20 of 20 begins at 0.8389 (Newcombe 1998, table I).
    perfect = Confusion(true_positives=20, false_positives=0, false_negatives=0, true_negatives=80)
    assert perfect.precision == perfect.recall == Estimate(1.0, 20, 0.8389, 1.0)
    # F1 is 2J / (1 + J), and J, 20 of 20, has the same interval.
    assert perfect.f1 == Estimate(1.0, 100, round(2 * 0.8389 / 1.8389, 4), 1.0)
    assert perfect.kappa is not None
    assert 0.85 < perfect.kappa.low < perfect.kappa.value == perfect.kappa.high == 1
    missed = Confusion(true_positives=0, false_positives=5, false_negatives=15, true_negatives=80)
    assert missed.recall is not None
    assert (missed.recall.value, missed.recall.low) == (0, 0)
    assert missed.recall.high == pytest.approx(0.2039, abs=1e-4)
    assert missed.f1 == Estimate(0.0, 100, 0.0, round(2 * 0.1611 / 1.1611, 4))


def test_the_interval_of_f1_covers_the_true_one_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    shares = np.array([0.25, 0.1, 0.15, 0.5])
    true = 2 * shares[0] / (2 * shares[0] + shares[1] + shares[2])
    estimates = [Confusion(*counts.tolist()).f1 for counts in generator.multinomial(100, shares, size=200)]
    covered = sum(estimate.low <= true <= estimate.high for estimate in estimates if estimate)
    assert 0.90 <= covered / 200 <= 0.99


def test_the_interval_of_kappa_narrows_with_more_pairs() -> None:
    few, many = Confusion(8, 2, 2, 8).kappa, Confusion(800, 200, 200, 800).kappa
    assert few is not None
    assert many is not None
    assert few.value == many.value == pytest.approx(0.6)
    assert few.high - few.low > 5 * (many.high - many.low)
    # The large-sample standard error of kappa at 80% agreement and even margins is 0.8 / sqrt(n).
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.8 / 2000**0.5, rel=0.1)
