"""Estimates with intervals: published values, and shapes that an interval must have."""

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from response_tuning.evaluation.shared.statistics import (
    Estimate,
    estimate_difference,
    estimate_kappa,
    estimate_mean,
    estimate_over_seeds,
    estimate_ratio,
    resampling,
)

ProportionCase = tuple[int, int, float, float]


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, methods 3 (Wilson).
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_a_proportion_has_wilsons_interval_as_published(successes: int, n: int, low: float, high: float) -> None:
    assert estimate_mean([1.0] * successes + [0.0] * (n - successes)) == Estimate(round(successes / n, 4), n, low, high)
    mirrored = estimate_mean([0.0] * successes + [1.0] * (n - successes))
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - high, 1 - low), abs=1e-4)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    # The same table, method 5 (Clopper-Pearson).
    [(81, 263, 0.2527, 0.3676), (15, 148, 0.0578, 0.1617), (0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)],
)
def test_a_proportion_has_the_exact_interval_by_option(successes: int, n: int, low: float, high: float) -> None:
    estimate = estimate_mean([1.0] * successes + [0.0] * (n - successes), proportion="clopper-pearson")
    assert (estimate.low, estimate.high) == (low, high)


def test_the_bounds_of_a_proportion_rise_with_the_successes() -> None:
    for n in (3, 20, 27, 28, 80):
        estimates = [estimate_mean([1.0] * k + [0.0] * (n - k)) for k in range(n + 1)]
        assert [estimate.low for estimate in estimates] == sorted({estimate.low for estimate in estimates})
        assert [estimate.high for estimate in estimates] == sorted({estimate.high for estimate in estimates})


@pytest.mark.parametrize("rating", [1.0, 2.0, 5.0])
def test_equal_ratings_have_an_interval_with_width_inside_their_scale(rating: float) -> None:
    few, many = (estimate_mean([rating] * n, bounds=(1, 5)) for n in (20, 200))
    for estimate in (few, many):
        assert estimate.value == rating
        assert 1 <= estimate.low <= rating <= estimate.high <= 5
        assert estimate.high > estimate.low
    assert few.high - few.low > 2 * (many.high - many.low)


def test_ratings_at_both_ends_of_their_scale_have_the_interval_of_a_proportion() -> None:
    proportion = estimate_mean([1.0] * 12 + [0.0] * 28)
    ratings = estimate_mean([5.0] * 12 + [1.0] * 28, bounds=(1, 5))
    assert (ratings.low, ratings.high) == pytest.approx((1 + 4 * proportion.low, 1 + 4 * proportion.high), abs=4e-4)


def test_a_value_outside_of_its_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="outside of the scale from 1 to 5"):
        estimate_mean([1.0, 6.0], bounds=(1, 5))
    with pytest.raises(ValueError, match="outside of the scale"):
        estimate_difference([(0.0, 1.0)], [(2.0, 1.0)], bounds=(1, 5))


def test_other_values_have_the_normal_interval_if_there_are_many() -> None:
    values = np.random.default_rng(0).gamma(4.0, size=1000)
    estimate = estimate_mean(values.tolist())
    half_width = 1.96 * np.std(values) / np.sqrt(1000)
    assert (estimate.low, estimate.high) == pytest.approx(
        (values.mean() - half_width, values.mean() + half_width), abs=0.01
    )
    assert estimate_mean(values.tolist()) == estimate


def test_a_mean_over_as_many_values_as_mmlu_has_takes_little_memory() -> None:
    values = np.random.default_rng(0).random(14_042).tolist()
    tracemalloc.start()
    estimate_mean(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def test_units_are_resampled_in_blocks_as_they_are_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random(50).tolist()
    whole = estimate_mean(values)
    monkeypatch.setattr(resampling, "_DRAWS_AT_ONCE", 170)
    assert estimate_mean(values) == whole


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate_mean([])
    with pytest.raises(ValueError, match="at least one"):
        estimate_ratio([], [])
    with pytest.raises(ValueError, match="at least one"):
        estimate_over_seeds([[]])
    with pytest.raises(ValueError, match="same number of units"):
        estimate_difference(alone([1.0]), [])


def test_a_ratio_of_one_check_per_unit_is_the_mean() -> None:
    values = [1.0, 0.0, 0.0, 1.0, 1.0]
    assert estimate_ratio(values, [1.0] * 5) == estimate_mean(values)


def test_a_ratio_weighs_units_by_their_checks_and_counts_units() -> None:
    estimate = estimate_ratio([3, 0], [3, 1])
    assert (estimate.value, estimate.n) == (0.75, 2)


def test_checks_that_agree_within_a_unit_widen_the_interval_of_a_ratio() -> None:
    together = estimate_ratio([4, 0] * 20, [4] * 40)
    apart = estimate_mean([1.0, 0.0] * 80)
    assert together.value == apart.value
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    # Checks that always agree are as good as one.
    once = estimate_mean([1.0, 0.0] * 20)
    assert (together.low, together.high) == pytest.approx((once.low, once.high), abs=1e-3)


def test_a_ratio_of_none_or_all_has_the_interval_of_its_units() -> None:
    assert estimate_ratio([0] * 20, [3] * 20) == Estimate(0.0, 20, 0.0, 0.1611)
    of_all = estimate_ratio([1, 3] * 10, [1, 3] * 10)
    assert (of_all.value, of_all.high) == (1.0, 1.0)
    assert of_all.low == pytest.approx(0.8389, abs=1e-3)


def alone(values: list[float]) -> list[tuple[float, float]]:
    """One value per unit."""
    return [(value, 1.0) for value in values]


def pairs(gained: int, lost: int, n: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    same = n - gained - lost
    return alone([1.0] * gained + [0.0] * (lost + same)), alone([0.0] * gained + [1.0] * lost + [0.0] * same)


def score(gained: int, lost: int, n: int, difference: float) -> float:
    """The score of a paired difference, with the rate of losses at its maximum likelihood, found numerically."""

    def surprise(loss: float) -> float:
        return -float(
            xlogy(gained, loss + difference) + xlogy(lost, loss) + xlogy(n - gained - lost, 1 - 2 * loss - difference)
        )

    lowest, highest = max(0.0, -difference), (1 - difference) / 2
    loss = float(minimize_scalar(surprise, bounds=(lowest, highest), method="bounded", options={"xatol": 1e-10}).x)
    return float((gained - lost - n * difference) / np.sqrt(n * (2 * loss + difference * (1 - difference))))


@pytest.mark.parametrize(("gained", "lost", "n"), [(9, 3, 40), (1, 0, 44), (17, 7, 80), (2, 30, 80)])
def test_a_difference_of_proportions_has_the_bounds_that_a_score_test_just_rejects(
    gained: int, lost: int, n: int
) -> None:
    difference = estimate_difference(*pairs(gained, lost, n))
    assert (difference.value, difference.n) == (round((gained - lost) / n, 4), n)
    assert score(gained, lost, n, difference.low) == pytest.approx(1.96, abs=0.005)
    assert score(gained, lost, n, difference.high) == pytest.approx(-1.96, abs=0.005)


def test_proportions_that_never_or_always_differ_have_an_interval_with_width() -> None:
    # In closed form: z^2 / (n + z^2) around no difference; (n - z^2) / (n + z^2) below one of 1.
    assert estimate_difference(*pairs(0, 0, 20)) == Estimate(0.0, 20, -0.1611, 0.1611)
    assert estimate_difference(*pairs(20, 0, 20)) == Estimate(1.0, 20, 0.6777, 1.0)


def test_the_difference_of_both_orders_is_mirrored() -> None:
    first, second = pairs(9, 3, 40)
    forward, back = estimate_difference(first, second), estimate_difference(second, first)
    assert (forward.value, forward.low, forward.high) == (-back.value, -back.high, -back.low)


def test_a_paired_difference_of_other_values_is_the_mean_of_the_differences() -> None:
    generator = np.random.default_rng(2)
    first, second = generator.random(60), generator.random(60) * 3
    paired = estimate_difference(alone(first.tolist()), alone(second.tolist()))
    assert paired == estimate_mean((first - second).tolist())


def test_pairs_that_go_together_have_a_narrower_interval_than_their_two_means() -> None:
    generator = np.random.default_rng(3)
    difficulty = generator.normal(size=100)
    first, second = difficulty + 0.3, difficulty + generator.normal(scale=0.1, size=100)
    paired = estimate_difference(alone(first.tolist()), alone(second.tolist()))
    single = estimate_mean(first.tolist())
    assert paired.low <= 0.3 <= paired.high
    assert paired.high - paired.low < 0.25 * (single.high - single.low)


def test_differences_of_ratings_stay_on_their_scale_and_have_a_width() -> None:
    ratings = alone([5.0, 4.0] * 20)
    alike = estimate_difference(ratings, ratings, bounds=(1, 5))
    assert alike.low == -alike.high < 0 == alike.value
    apart = estimate_difference(alone([5.0] * 40), alone([1.0] * 40), bounds=(1, 5))
    assert 3 < apart.low < apart.value == apart.high == 4


def test_the_difference_of_two_ratios_weighs_units_by_their_wholes() -> None:
    difference = estimate_difference([(3, 3), (0, 1)], [(0, 3), (1, 1)])
    assert (difference.value, difference.n) == (0.5, 2)
    alike = estimate_difference([(1, 2)] * 10, [(1, 2)] * 10)
    assert alike.low < 0 < alike.high


def test_seeds_that_differ_widen_the_interval_and_seeds_that_do_not_leave_that_of_the_prompts() -> None:
    generator = np.random.default_rng(0)
    prompts = generator.normal(size=100)
    alike = estimate_over_seeds([prompts.tolist()] * 3)
    assert (alike.n, alike.value) == (100, round(float(prompts.mean()), 4))
    of_one = estimate_mean(prompts.tolist())
    assert (alike.low, alike.high) == pytest.approx((of_one.low, of_one.high), abs=1e-4)
    apart = estimate_over_seeds([(prompts + shift).tolist() for shift in (-0.5, 0.0, 0.5)])
    assert apart.high - apart.low > 3 * (of_one.high - of_one.low)


def test_a_difference_over_seeds_pairs_seeds_and_prompts() -> None:
    generator = np.random.default_rng(1)
    of_seeds = generator.normal(size=(3, 1)) + generator.normal(size=(3, 60))
    difference = estimate_over_seeds((of_seeds + 0.2).tolist(), of_seeds.tolist())
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.2, 0.2, 0.2))
    first, second = pairs(9, 3, 40)
    single = estimate_over_seeds([[v for v, _ in first]], [[v for v, _ in second]])
    assert single == estimate_difference(first, second)
    with pytest.raises(ValueError, match="same seeds and prompts"):
        estimate_over_seeds([[1.0, 2.0]], [[1.0]])


def test_kappa_has_an_interval_with_width_whatever_the_table() -> None:
    for table in ([[0, 0], [10, 10]], [[20, 0], [0, 20]], [[0, 5], [5, 0]], [[1, 1], [0, 1]]):
        kappa = estimate_kappa(table)
        assert kappa is not None
        assert -1 <= kappa.low <= kappa.value <= kappa.high <= 1
        assert kappa.high - kappa.low > 0.05
    assert estimate_kappa([[9, 0], [0, 0]]) is None
    assert estimate_kappa([[0, 0], [0, 0]]) is None


def test_kappa_of_three_classes_is_that_of_its_definition() -> None:
    kappa = estimate_kappa([[20, 5, 5], [5, 20, 5], [5, 5, 20]])
    assert kappa is not None
    assert (kappa.value, kappa.n) == (0.5, 90)  # 60 of 90 agree, chance agrees on 30
    with pytest.raises(ValueError, match="square"):
        estimate_kappa([[1, 2]])
