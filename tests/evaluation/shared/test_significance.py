"""Tests of paired differences, against published values and by enumeration."""

import numpy as np
import pytest
from scipy.special import bdtr
from scipy.stats import binomtest

from response_tuning.evaluation.shared.statistics import (
    holm,
    mcnemar,
    minimal_detectable_difference,
    paired_p_value,
)


@pytest.mark.parametrize(("gained", "lost"), [(17, 7), (7, 17), (3, 0), (5, 5), (121, 59)])
def test_mcnemar_is_the_exact_binomial_test_of_discordant_pairs(gained: int, lost: int) -> None:
    assert mcnemar(gained, lost) == pytest.approx(binomtest(gained, gained + lost).pvalue)


def test_no_discordant_pair_shows_nothing() -> None:
    assert mcnemar(0, 0) == 1


def test_proportions_are_tested_by_mcnemar_and_other_values_by_swapping_sides() -> None:
    first = [(1.0, 1.0)] * 17 + [(0.0, 1.0)] * 63
    second = [(0.0, 1.0)] * 17 + [(1.0, 1.0)] * 7 + [(0.0, 1.0)] * 56
    assert paired_p_value(first, second) == mcnemar(17, 7)
    # Three equal differences: all 2 of 8 swaps that keep one sign are as large.
    ratings = paired_p_value([(2.0, 1.0)] * 3, [(1.0, 1.0)] * 3)
    assert ratings == pytest.approx(2 / 8, abs=0.015)
    assert paired_p_value([(1.5, 1.0), (2.5, 1.0)], [(2.5, 1.0), (1.5, 1.0)]) == 1
    assert paired_p_value([(1.0, 2.0)] * 3, [(1.0, 2.0)] * 3) == 1


def test_a_permutation_test_rejects_equal_sides_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    rejected = 0
    for _ in range(60):
        first, second = generator.normal(size=(2, 25))
        rejected += paired_p_value([(v, 1.0) for v in first], [(v, 1.0) for v in second]) < 0.1
    assert 1 <= rejected <= 14  # 6 expected, and 99.8% of the binomial distribution


def test_holm_adjusts_as_worked_out_by_hand_and_keeps_the_order() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("n", "discordant"), [(80, 0.3), (160, 0.3), (400, 0.1)])
def test_the_detectable_difference_is_found_with_the_power_it_says(n: int, discordant: float) -> None:
    """By enumeration of the score test, which excludes zero as Tango's interval does."""
    difference = minimal_detectable_difference(n, discordant)
    gain = (discordant + difference) / 2 / discordant
    power = 0.0
    for pairs in range(1, n + 1):
        weight = float(bdtr(pairs, n, discordant) - bdtr(pairs - 1, n, discordant))
        gained = np.arange(pairs + 1)
        found = np.abs(2 * gained - pairs) / np.sqrt(pairs) > 1.96
        mass = bdtr(gained, pairs, gain) - np.where(gained > 0, bdtr(np.maximum(gained - 1, 0), pairs, gain), 0)
        power += weight * float(mass[found].sum())
    assert power == pytest.approx(0.8, abs=0.04)


def test_a_difference_is_no_larger_than_the_pairs_that_differ() -> None:
    assert minimal_detectable_difference(40, 0.02) == 0.02
