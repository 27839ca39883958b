"""Risk-coverage curves worked out by hand, and thresholds."""

import random
from itertools import permutations

import pytest

from response_tuning.evaluation.selective.risk_coverage import (
    CurvePoint,
    abstention,
    choose_threshold,
    halves,
    risk_coverage,
)
from response_tuning.evaluation.shared.statistics import estimate_mean


def test_the_curve_and_its_area_are_those_worked_out_by_hand() -> None:
    result = risk_coverage([0.4, 0.9, 0.2, 0.7], [0, 1, 1, 1])
    assert result.curve == [
        CurvePoint(0.9, 0.25, 1.0),
        CurvePoint(0.7, 0.5, 1.0),
        CurvePoint(0.4, 0.75, 2 / 3),
        CurvePoint(0.2, 1.0, 0.75),
    ]
    assert result.aurc.value == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4, abs=1e-4)
    assert result.aurc.n == 4
    assert result.random == 0.25
    assert result.oracle == pytest.approx((0 + 0 + 0 + 1 / 4) / 4, abs=1e-4)
    assert result.gain.value == pytest.approx(0.25 - 7 / 48, abs=1e-4)


def test_a_confidence_that_knows_the_quality_has_the_oracles_area_and_its_reverse_the_worst() -> None:
    qualities = [1.0, 0.0, 1.0, 0.0, 0.5]
    best = risk_coverage(qualities, qualities)
    worst = risk_coverage([-quality for quality in qualities], qualities)
    assert best.aurc.value == best.oracle < best.random < worst.aurc.value
    # By hand: 0, 0, then 0.5 / 3, 1.5 / 4, 2.5 / 5; and the other way about.
    assert best.oracle == pytest.approx((0 + 0 + 0.5 / 3 + 1.5 / 4 + 2.5 / 5) / 5, abs=1e-4)
    assert worst.aurc.value == pytest.approx((1 + 1 + 2.5 / 3 + 2.5 / 4 + 2.5 / 5) / 5, abs=1e-4)


def test_equal_confidences_have_the_mean_area_of_all_their_orders() -> None:
    confidences, qualities = [3.0, 2.0, 2.0, 2.0, 1.0], [0.0, 1.0, 0.0, 0.25, 1.0]
    areas = []
    for middle in permutations(qualities[1:4]):
        shown, area = 0.0, 0.0
        for count, quality in enumerate([qualities[0], *middle, qualities[4]], start=1):
            shown += quality
            area += (1 - shown / count) / 5
        areas.append(area)
    assert risk_coverage(confidences, qualities).aurc.value == pytest.approx(sum(areas) / len(areas), abs=1e-4)


def test_the_order_of_the_responses_is_of_no_account() -> None:
    pairs = [(0.5, 1.0), (0.5, 0.0), (0.5, 1.0), (0.1, 0.0), (0.9, 1.0), (0.5, 0.0)]
    first = risk_coverage(*zip(*pairs, strict=True))
    second = risk_coverage(*zip(*reversed(pairs), strict=True))
    assert (first.curve, first.aurc.value) == (second.curve, second.aurc.value)


def test_a_constant_confidence_is_worth_exactly_nothing() -> None:
    result = risk_coverage([1.0] * 6, [1, 0, 0, 1, 1, 0])
    assert result.curve == [CurvePoint(1.0, 1.0, 0.5)]
    assert result.aurc.value == result.random == 0.5
    assert (result.gain.value, result.gain.low, result.gain.high) == (0.0, 0.0, 0.0)


def test_good_responses_alone_leave_no_area() -> None:
    result = risk_coverage([0.1, 0.2, 0.3], [1, 1, 1])
    assert (result.aurc.value, result.oracle, result.random, result.gain.value) == (0, 0, 0, 0)


@pytest.mark.parametrize("quality", [0.0, 1.0])
def test_responses_that_are_all_alike_leave_the_area_uncertain(quality: float) -> None:
    area = risk_coverage([0.9, 0.7, 0.4, 0.2], [quality] * 4).aurc
    assert area == estimate_mean([1 - quality] * 4)
    assert area.high - area.low > 0.4


def test_the_interval_of_the_gain_tells_a_useful_confidence_from_noise() -> None:
    generator = random.Random(0)
    qualities = [float(generator.random() < 0.5) for _ in range(300)]
    useful = risk_coverage([quality + generator.gauss(0, 1) for quality in qualities], qualities)
    noise = risk_coverage([generator.random() for _ in qualities], qualities)
    assert useful.gain.low > 0
    assert noise.gain.low < 0 < noise.gain.high
    assert useful.aurc.low < useful.aurc.value < useful.aurc.high


def test_the_interval_of_the_area_covers_the_true_area_about_as_often_as_it_says() -> None:
    """Confidence uniform on 0 to 1, quality with that probability: the risk at coverage c is c / 2, the area 1/4."""
    generator = random.Random(1)
    covered = 0
    for _ in range(100):
        confidences = [generator.random() for _ in range(200)]
        area = risk_coverage(confidences, [float(generator.random() < score) for score in confidences]).aurc
        covered += area.low <= 0.25 <= area.high
    assert 87 <= covered <= 100


@pytest.mark.parametrize(
    ("confidences", "qualities", "message"),
    [
        ([], [], "are not a curve"),
        ([1.0], [1.0, 0.0], "are not a curve"),
        ([float("nan")], [1.0], "not a finite number"),
        ([1.0], [1.5], "not between 0 and 1"),
    ],
)
def test_what_makes_no_curve_is_refused(confidences: list[float], qualities: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        risk_coverage(confidences, qualities)


def test_the_threshold_shows_as_much_as_the_wanted_quality_allows() -> None:
    confidences, qualities = [5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 0.0, 1.0, 1.0, 0.0]
    # Qualities of what is shown: 1, 1/2, 2/3, 3/4, 3/5.
    assert choose_threshold(confidences, qualities, wanted_quality=0.9) == 5.0
    assert choose_threshold(confidences, qualities, wanted_quality=0.75) == 2.0
    assert choose_threshold(confidences, qualities, wanted_quality=0.6) == 1.0


def test_responses_of_equal_confidence_are_shown_together_or_not_at_all() -> None:
    assert choose_threshold([2.0, 2.0, 1.0], [1.0, 0.0, 1.0], wanted_quality=0.9) is None
    assert choose_threshold([2.0, 2.0, 1.0], [1.0, 0.0, 1.0], wanted_quality=0.5) == 1.0


def test_a_quality_that_is_reached_exactly_is_reached() -> None:
    assert choose_threshold([1.0] * 10, [1.0] * 9 + [0.0], wanted_quality=0.9) == 1.0
    assert choose_threshold([1.0] * 3, [0.1, 0.2, 0.3], wanted_quality=0.2) == 1.0


def test_halves_have_every_position_once_and_depend_on_the_seed() -> None:
    first, second = halves(11, seed=0)
    assert (len(first), len(second)) == (5, 6)
    assert sorted(first + second) == list(range(11))
    assert halves(11, seed=0) == (first, second)
    assert halves(11, seed=1) != (first, second)


def test_the_reported_half_has_no_part_in_the_choice_of_the_threshold() -> None:
    confidences = [float(number) for number in range(40)]
    qualities = [float(number >= 20) for number in range(40)]
    chosen, reported = halves(40, seed=3)
    result = abstention(confidences, qualities, wanted_quality=0.9, seed=3)
    other = [1 - quality if position in reported else quality for position, quality in enumerate(qualities)]
    spoiled = abstention(confidences, other, wanted_quality=0.9, seed=3)
    assert result.threshold == spoiled.threshold
    assert result.chosen_on == len(chosen) == 20
    shown = [position for position in reported if confidences[position] >= (result.threshold or 0)]
    assert result.coverage.value == pytest.approx(len(shown) / 20)
    assert result.coverage.n == 20
    assert result.coverage.low <= result.coverage.value <= result.coverage.high
    assert result.quality is not None
    assert spoiled.quality is not None
    assert result.quality.n == len(shown)
    assert result.quality.value == pytest.approx(sum(qualities[position] for position in shown) / len(shown), abs=1e-4)
    assert spoiled.quality.value == pytest.approx(1 - result.quality.value, abs=1e-4)


def test_a_quality_that_cannot_be_reached_shows_nothing() -> None:
    result = abstention([1.0, 2.0, 3.0, 4.0], [0.0] * 4, wanted_quality=0.5, seed=0)
    assert (result.threshold, result.quality) == (None, None)
    assert (result.coverage.value, result.coverage.n) == (0.0, 2)
    assert result.quality_of_all.value == 0.0


def test_one_response_has_no_halves() -> None:
    with pytest.raises(ValueError, match="at least two"):
        abstention([1.0], [1.0], wanted_quality=0.5, seed=0)
