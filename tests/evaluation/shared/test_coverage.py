"""Intervals contain the truth about as often as they say: 93 to 97% on average, and never less than 90%.

By enumeration of every sample where that is possible. RT_COVERAGE_SCALE multiplies the simulated samples (default 1).
"""

import os

import numpy as np
import pytest

from response_tuning.evaluation.shared.statistics.coverage import (
    cluster_coverage,
    difference_coverage,
    kappa_coverage,
    proportion_coverage,
    rating_coverage,
    seeds_coverage,
)
from response_tuning.evaluation.shared.statistics.proportions import clopper_pearson

SCALE = int(os.environ.get("RT_COVERAGE_SCALE", "1"))
GRID = np.linspace(0.02, 0.98, 961)


@pytest.mark.parametrize("n", [20, 22, 25, 27, 28, 40, 80, 200])
def test_a_proportion_at_any_rate(n: int) -> None:
    coverage = proportion_coverage(n, GRID)
    assert coverage.min() >= 0.915
    assert 0.945 <= coverage.mean() <= 0.96


@pytest.mark.parametrize("n", [20, 80])
def test_the_exact_interval_never_covers_less_than_it_says(n: int) -> None:
    assert proportion_coverage(n, GRID, clopper_pearson).min() >= 0.95


@pytest.mark.parametrize("n", [20, 40, 80])
def test_a_difference_of_paired_proportions_however_few_pairs_differ(n: int) -> None:
    rates = [(q, q * s) for q in (0.02, 0.04, 0.06, 0.1, 0.2, 0.3, 0.5) for s in (0.0, 0.25, 0.5, 0.75, 1.0)]
    coverage = {(q, d): difference_coverage(n, (q + d) / 2, (q - d) / 2) for q, d in rates}
    assert min(coverage.values()) >= 0.925
    # With fewer than four discordant pairs expected, nearly every sample's interval contains the truth.
    often = [covered for (q, _), covered in coverage.items() if q * n >= 4]
    assert 0.93 <= np.mean(often) <= 0.97


def test_ratings_of_any_skew() -> None:
    shapes = [
        *[(1 - q, q, 0.0, 0.0, 0.0) for q in (0.02, 0.1)],
        *[(1 - q, 0.0, 0.0, 0.0, q) for q in (0.02, 0.05, 0.1, 0.5)],
        (0.2, 0.2, 0.2, 0.2, 0.2),
        (0.02, 0.03, 0.05, 0.3, 0.6),
        (0.3, 0.1, 0.05, 0.05, 0.5),
        (0.01, 0.01, 0.02, 0.06, 0.9),
    ]
    coverage = [rating_coverage(20, shape) for shape in shapes]
    assert min(coverage) >= 0.92
    assert 0.93 <= np.mean(coverage) <= 0.975


@pytest.mark.parametrize("proportion", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("correlation", [0.2, 0.8])
def test_a_ratio_of_dependent_checks(proportion: float, correlation: float) -> None:
    assert 0.92 <= cluster_coverage(40, 4, proportion, correlation, samples=2000 * SCALE) <= 0.98


@pytest.mark.parametrize(
    ("n", "cells"),
    [
        (40, ((0.45, 0.05), (0.05, 0.45))),
        (40, ((0.05, 0.02), (0.05, 0.88))),
        (80, ((0.02, 0.0), (0.03, 0.95))),
        (72, ((0.5, 0.07), (0.3, 0.13))),
    ],
)
def test_kappa_also_where_one_class_is_rare(n: int, cells: tuple[tuple[float, float], ...]) -> None:
    assert 0.91 <= kappa_coverage(n, cells, samples=600 * SCALE) <= 0.98


@pytest.mark.parametrize("effects", [(0.5, 0.0, 0.3), (0.0, 0.0, 0.5), (0.3, 0.1, 0.3), (0.1, 0.3, 0.1)])
def test_a_mean_over_three_seeds_whichever_of_prompts_seeds_and_noise_dominates(
    effects: tuple[float, float, float],
) -> None:
    of_prompts, of_seeds, of_noise = effects
    coverage = seeds_coverage(3, 40, of_prompts=of_prompts, of_seeds=of_seeds, of_noise=of_noise, samples=400 * SCALE)
    assert 0.91 <= coverage <= 0.985
