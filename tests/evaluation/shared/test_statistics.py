"""Means with intervals."""

import numpy as np
import pytest

from response_tuning.evaluation.shared import statistics as statistics_module
from response_tuning.evaluation.shared.statistics import Estimate, estimate_difference, estimate_mean, estimate_ratio


def test_a_share_of_none_or_all_has_wilsons_interval() -> None:
    # Newcombe 1998, table I: 0 of 20 has 0 to 0.1611, 20 of 20 has 0.8389 to 1.
    assert estimate_mean([0.0] * 20) == Estimate(0.0, 20, 0.0, 0.1611)
    assert estimate_mean([1.0] * 20) == Estimate(1.0, 20, 0.8389, 1.0)


def test_a_constant_that_is_no_share_has_an_interval_of_no_width() -> None:
    assert estimate_mean([3.5] * 10) == Estimate(3.5, 10, 3.5, 3.5)


def test_the_interval_is_that_of_the_normal_approximation_for_many_values() -> None:
    values = [1.0] * 300 + [0.0] * 700
    estimate = estimate_mean(values)
    half_width = 1.96 * np.std(values) / np.sqrt(1000)
    assert estimate.value == 0.3
    assert estimate.n == 1000
    assert estimate.low == pytest.approx(0.3 - half_width, abs=0.003)
    assert estimate.high == pytest.approx(0.3 + half_width, abs=0.003)


def test_the_same_values_give_the_same_interval() -> None:
    assert estimate_mean([0.0, 1.0, 1.0]) == estimate_mean([0.0, 1.0, 1.0])


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    samples = generator.random((200, 80)) < 0.7
    estimates = [estimate_mean(sample.astype(float).tolist()) for sample in samples]
    covered = sum(estimate.low <= 0.7 <= estimate.high for estimate in estimates)
    assert 0.90 <= covered / 200 <= 0.99


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate_mean([])


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


def test_a_ratio_of_none_or_all_has_wilsons_interval_for_its_units_and_not_for_its_checks() -> None:
    assert estimate_ratio([0] * 20, [3] * 20) == Estimate(0.0, 20, 0.0, 0.1611)
    assert estimate_ratio([1, 3] * 10, [1, 3] * 10) == Estimate(1.0, 20, 0.8389, 1.0)
    nearly = estimate_ratio([3] * 19 + [2], [3] * 20)
    assert 0 < nearly.low < nearly.value < 1


def test_a_ratio_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate_ratio([], [])


def alone(values: list[float]) -> list[tuple[float, float]]:
    """One value per unit."""
    return [(value, 1.0) for value in values]


def test_a_paired_difference_is_the_mean_of_the_differences() -> None:
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


def test_the_difference_of_two_ratios_weighs_units_by_their_wholes() -> None:
    difference = estimate_difference([(3, 3), (0, 1)], [(0, 3), (1, 1)])
    assert (difference.value, difference.n) == (0.5, 2)


def test_shares_that_never_differ_or_always_do_have_the_score_interval() -> None:
    # Tango 1998: z^2 / (n + z^2) around no difference; (n - z^2) / (n + z^2) below one of 1.
    alike = estimate_difference(alone([1.0, 0.0] * 10), alone([1.0, 0.0] * 10))
    assert alike == Estimate(0.0, 20, -0.1611, 0.1611)
    assert estimate_difference(alone([0.0] * 20), alone([1.0] * 20)) == Estimate(-1.0, 20, -1.0, -0.6777)
    # So have ratios of units with several checks, all or none of which are passed.
    none = [(0.0, 3.0), (0.0, 1.0)] * 10
    assert estimate_difference(none, none) == alike
    half = [(1.0, 2.0)] * 10
    assert estimate_difference(half, half) == Estimate(0.0, 10, 0.0, 0.0)


def test_many_units_are_resampled_in_parts_like_few(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    first, second = (alone(generator.random(50).tolist()) for _ in range(2))
    whole = estimate_difference(first, second)
    monkeypatch.setattr(statistics_module, "_DRAWS_AT_ONCE", 170)
    assert estimate_difference(first, second) == whole


def test_a_difference_of_unequal_numbers_is_refused() -> None:
    with pytest.raises(ValueError, match="same number of units"):
        estimate_difference(alone([1.0]), [])
