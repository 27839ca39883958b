"""Quality against coverage: what fraction of responses is shown, and how good it is, if unsure ones are withheld.

Responses are shown in order of confidence, the highest first. Coverage is the fraction shown, risk is one minus the
mean quality of the responses shown (El-Yaniv & Wiener 2010). The area under the risk-coverage curve (AURC; Geifman,
Uziel & El-Yaniv 2019, arXiv 1805.08206) is the mean of the risks after one, two, ... all responses:

    confidence   0.9  0.7  0.4  0.2
    quality      1    1    0    1
    risk         0    0    1/3  1/4      AURC = (0 + 0 + 1/3 + 1/4) / 4

Responses of equal confidence have no order. Their risks are the expected ones over all orders, so that the order of
the file does not matter and a constant confidence gets exactly the area of chance.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean

__all__ = ["Abstention", "CurvePoint", "RiskCoverage", "abstention", "choose_threshold", "halves", "risk_coverage"]

_RESAMPLES = 2_000
# The total number of units in the resamples that are drawn at once.
_UNITS_AT_ONCE = 2_000_000

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CurvePoint:
    """The responses shown if those below ``threshold`` are withheld."""

    threshold: float
    coverage: float
    """The fraction of responses shown."""
    quality: float
    """Their mean quality."""


@dataclass(frozen=True)
class RiskCoverage:
    """How well a confidence separates good responses from bad ones."""

    curve: list[CurvePoint]
    """A point for each distinct confidence, from the highest to the lowest; the last one has full coverage."""
    aurc: Estimate
    """The area under the risk-coverage curve; 0 is best."""
    oracle: float
    """The area of the quality itself as confidence: the lowest possible one."""
    random: float
    """The expected area of a random confidence: the risk at full coverage."""
    gain: Estimate
    """``random`` minus ``aurc``. An interval that contains 0 does not show that the confidence is of use."""


@dataclass(frozen=True)
class Abstention:
    """A threshold for a wanted quality, chosen on one half of the responses and evaluated on the other."""

    wanted_quality: float
    threshold: float | None
    """The minimum confidence of a response that is shown; None if no threshold reached the wanted quality on the half
    it was chosen on."""
    coverage: Estimate
    """The fraction of the other half that is shown."""
    quality: Estimate | None
    """The mean quality of these; None if none is shown."""
    quality_of_all: Estimate
    """The mean quality of the other half at full coverage."""
    chosen_on: int
    """The number of responses that the threshold was chosen on."""


def risk_coverage(confidences: Sequence[float], qualities: Sequence[float]) -> RiskCoverage:
    """The curve and its area, with the area's percentile bootstrap interval (2,000 resamples of responses).

    If all responses are equally good, the area is their risk in any order, and has the interval of that mean.

    Args:
        confidences: of each response, on any scale.
        qualities: of each response, from 0 to 1.

    Raises:
        ValueError: there are no responses, the two lengths differ, a confidence is not finite, or a quality is not
            between 0 and 1.
    """
    scores, values = _checked(confidences, qualities)
    # The risk at full coverage is the expected area of any order that is independent of quality.
    risk_of_all = 1 - float(values.mean())
    order, starts = _groups(scores)
    areas, risks = _resampled_areas(values[order], starts)
    own = _area(scores, values)
    return RiskCoverage(
        curve=_curve(scores, values),
        aurc=estimate_mean((1 - values).tolist()) if _are_alike(values) else _estimate(own, areas, n=len(values)),
        oracle=round(_area(values, values), 4),
        random=round(risk_of_all, 4),
        gain=_estimate(risk_of_all - own, risks - areas, n=len(values)),
    )


def choose_threshold(
    confidences: Sequence[float], qualities: Sequence[float], *, wanted_quality: float
) -> float | None:
    """The lowest threshold with at least the wanted mean quality at and above it; None if there is none.

    Raises:
        ValueError: as ``risk_coverage``.
    """
    reached = [
        point.threshold
        for point in _curve(*_checked(confidences, qualities))
        # Rounding may put a mean slightly below its exact value.
        if point.quality >= wanted_quality - 1e-9
    ]
    return reached[-1] if reached else None


def halves(count: int, *, seed: int) -> tuple[list[int], list[int]]:
    """Two random halves of the positions below ``count``, each sorted; for an odd count the second has one more."""
    first = set(random.Random(seed).sample(range(count), count // 2))
    return sorted(first), [position for position in range(count) if position not in first]


def abstention(
    confidences: Sequence[float], qualities: Sequence[float], *, wanted_quality: float, seed: int
) -> Abstention:
    """Choose a threshold on a random half of the responses and evaluate it on the other half.

    The intervals are those of the evaluated half, for the chosen threshold.

    Raises:
        ValueError: there are fewer than two responses, or as ``risk_coverage``.
    """
    scores, values = _checked(confidences, qualities)
    if len(values) < 2:
        raise ValueError("two halves need at least two responses")
    chosen, reported = halves(len(values), seed=seed)
    threshold = choose_threshold(scores[chosen].tolist(), values[chosen].tolist(), wanted_quality=wanted_quality)
    shown = scores[reported] >= (np.inf if threshold is None else threshold)
    return Abstention(
        wanted_quality=wanted_quality,
        threshold=threshold,
        coverage=estimate_mean(shown.astype(float).tolist()),
        quality=estimate_mean(values[reported][shown].tolist()) if shown.any() else None,
        quality_of_all=estimate_mean(values[reported].tolist()),
        chosen_on=len(chosen),
    )


def _checked(confidences: Sequence[float], qualities: Sequence[float]) -> tuple[Floats, Floats]:
    scores, values = np.asarray(confidences, dtype=np.float64), np.asarray(qualities, dtype=np.float64)
    if not len(scores) or len(scores) != len(values):
        raise ValueError(f"{len(scores)} confidences and {len(values)} qualities are not a curve")
    if not np.isfinite(scores).all():
        raise ValueError("a confidence is not a finite number")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("a quality is not between 0 and 1")
    return scores, values


def _are_alike(values: Floats) -> bool:
    return bool((values == values[0]).all())


def _groups(scores: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The order from the highest confidence down, and the start of each group of equal confidences in it."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    return order, np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1]).astype(np.intp)


def _curve(scores: Floats, values: Floats) -> list[CurvePoint]:
    order, starts = _groups(scores)
    shown = np.append(starts[1:], len(values))
    qualities = values[order].cumsum()[shown - 1] / shown
    thresholds = scores[order][starts]
    return [
        CurvePoint(float(threshold), int(count) / len(values), float(quality))
        for threshold, count, quality in zip(thresholds, shown, qualities, strict=True)
    ]


def _area(scores: Floats, values: Floats) -> float:
    order, starts = _groups(scores)
    return float(_areas(np.ones((1, len(values))), values[order], starts)[0])


def _areas(weights: Floats, values: Floats, starts: NDArray[np.intp]) -> Floats:
    """The area under the curve of each resample.

    With ``k`` responses and ``e`` errors before a group of ``m`` responses with ``f`` errors, the expected errors after
    ``j`` of the group are ``e + j f / m``, so the group's risks sum up to, with ``h`` the harmonic numbers,

        sum over j of (e + j f / m) / (k + j)  =  e (h[k + m] - h[k])  +  f / m (m - k (h[k + m] - h[k]))

    Args:
        weights: how often each response is in each resample [resamples, responses], in the order of confidence.
        values: qualities [responses], in the same order.
        starts: the start of each group of equal confidences.

    Returns:
        Areas [resamples].
    """
    counts = np.add.reduceat(weights, starts, axis=1)
    errors = np.add.reduceat(weights * (1 - values), starts, axis=1)
    counts_before, errors_before = counts.cumsum(axis=1) - counts, errors.cumsum(axis=1) - errors
    harmonic = np.append(0.0, (1 / np.arange(1, len(values) + 1)).cumsum())
    rise = harmonic[(counts_before + counts).astype(int)] - harmonic[counts_before.astype(int)]
    # A group without responses in a resample adds nothing, as its rise is 0.
    mean_error = errors / np.maximum(counts, 1)
    risks: Floats = errors_before * rise + mean_error * (counts - counts_before * rise)
    areas: Floats = risks.sum(axis=1) / len(values)
    return areas


def _resampled_areas(values: Floats, starts: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """The area, and the risk at full coverage, of each bootstrap resample."""
    generator = np.random.default_rng(0)
    at_once = max(1, _UNITS_AT_ONCE // len(values))
    areas, risks = [], []
    for first in range(0, _RESAMPLES, at_once):
        size = min(at_once, _RESAMPLES - first)
        weights = generator.multinomial(len(values), [1 / len(values)] * len(values), size=size).astype(np.float64)
        areas.append(_areas(weights, values, starts))
        risks.append(weights @ (1 - values) / len(values))
    return np.concatenate(areas), np.concatenate(risks)


def _estimate(value: float, resampled: Floats, *, n: int) -> Estimate:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(round(value, 4), n, round(float(low), 4), round(float(high), 4))
