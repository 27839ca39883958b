"""Pearson's and Spearman's correlation of a confidence with a score."""

import numpy as np
import pytest
from scipy.stats import bootstrap, pearsonr, spearmanr

from response_tuning.evaluation.selective.correlation import correlation


def test_values_are_scipys_and_intervals_those_of_its_bootstrap() -> None:
    generator = np.random.default_rng(3)
    confidences = generator.normal(size=60)
    scores = np.round(confidences + generator.normal(size=60)).clip(-2, 2)  # with ties, as ratings have
    found = correlation(confidences.tolist(), scores.tolist())
    assert found is not None
    for estimate, function in ((found.pearson, pearsonr), (found.spearman, spearmanr)):
        assert estimate.value == pytest.approx(float(function(confidences, scores).statistic), abs=1e-4)
        interval = bootstrap(
            (confidences, scores),
            lambda first, second, function=function: function(first, second).statistic,
            paired=True,
            vectorized=False,
            n_resamples=2_000,
            method="percentile",
            rng=np.random.default_rng(5),
        ).confidence_interval
        assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high), abs=0.03)
        assert estimate.n == 60


@pytest.mark.parametrize(
    ("confidences", "scores"),
    [([1.0, 2.0], [0.0, 1.0]), ([1.0] * 5, [0.0, 1.0, 0.0, 1.0, 1.0]), ([1.0, 2.0, 3.0], [4.0] * 3)],
)
def test_what_cannot_vary_together_has_no_correlation(confidences: list[float], scores: list[float]) -> None:
    assert correlation(confidences, scores) is None


def test_a_perfect_order_is_one_for_spearman_and_less_for_pearson() -> None:
    found = correlation([1.0, 2.0, 3.0, 4.0, 5.0], [0.0, 1.0, 8.0, 27.0, 640.0])
    assert found is not None
    assert (found.spearman.value, found.spearman.low, found.spearman.high) == (1.0, 1.0, 1.0)
    assert found.pearson.value < 0.8
