"""The length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475).

Judges favour long responses, so a logistic model of the judge's preference is fitted to one model's comparisons,

    logit P(model preferred) = m + l * tanh((reference length - model length) / standard deviation) + d * difficulty

and the length-controlled win rate is the mean prediction over all instructions with the length term set to 0: the
judge's preference if both responses had the same length. ``difficulty`` is a published number for each instruction of
AlpacaEval. Lengths are in characters. The fit is that of alpaca_eval's ``length_controlled_v1``: an L1 penalty whose
strength is chosen by five-fold cross-validation, and anchors as additional observations of small weight without a model
term: published verdicts on a concise and a verbose variant of the reference (``Anchor``). They keep the length term
from being fitted to one model alone. Without them the number is another one, and is named so (``METHOD_NO_ANCHORS``):
over 57 models of the leaderboard it differs from the published one by one point in the median.

The interval is a bootstrap over instructions in which every resample chooses its own penalty, joined with that of the
same resamples under the weakest penalty. The second one matters for models that are nearly as good as the reference:
the penalty removes their term, and then most resamples predict exactly 0.5 too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.alpaca.alpaca_format import Anchor, Annotation
from response_tuning.evaluation.alpaca.logistic_fit import fit_path, log_losses, logistic
from response_tuning.evaluation.alpaca.win_rate import (
    ALPACA_EVAL_SIZE,
    judged_annotations,
    preferences_of,
    standard_error,
)
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.evaluation.shared.statistics.resampling import percentile_bounds

__all__ = [
    "METHOD",
    "METHOD_NO_ANCHORS",
    "LengthControlledWeights",
    "LengthControlledWinRate",
    "length_controlled_win_rate",
    "predicted_preferences",
]

METHOD = "length_controlled_v1"
"""alpaca_eval's name of the fit with anchors."""
METHOD_NO_ANCHORS = "length_controlled (no anchors)"

_ANCHORS_WEIGHT = 0.2
"""Of the anchors of one variant times the number of variants, against 1 for each of the model's comparisons."""
_FOLDS = 5
_PENALTIES = tuple(float(value) for value in np.logspace(-4, 4, 10))
"""Inverse strengths of the L1 penalty to choose from, the strongest first."""
_RESAMPLES = 300
_RESAMPLES_AT_ONCE = 100
_RARELY = 1e-6
"""A model that always loses gets one win in a million, so that the fit exists."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LengthControlledWeights:
    """The three weights of the logistic model, with alpaca_eval's names of their features."""

    length: float
    """The weight of ``np.tanh(std_delta_len)``: negative if the judge favours longer responses."""
    difficulty: float
    """The weight of ``instruction_difficulty``."""
    model: float
    """The weight of ``not_gamed_baseline``: the log-odds that the model wins at equal length and difficulty 0."""


@dataclass(frozen=True)
class LengthControlledWinRate:
    """A length-controlled win rate, and the fit behind it."""

    estimate: Estimate
    """The mean predicted preference at equal lengths, from 0 to 1. The interval is a bootstrap of the whole fit over
    instructions, the choice of the penalty included."""
    standard_error: float
    """As alpaca_eval reports it (``lc_standard_error``): the variation of predictions between instructions. It excludes
    the uncertainty of the fit and is far too small to compare models: use the interval."""
    weights: LengthControlledWeights
    inverse_penalty: float
    """The inverse strength of the L1 penalty that cross-validation chose."""
    method: str
    """``METHOD``, or ``METHOD_NO_ANCHORS``, which is not comparable with published values."""


@dataclass(frozen=True)
class _Observations:
    features: Floats
    """[n, 3]: length, difficulty, model."""
    preferences: Floats
    """[n], from 0 to 1."""
    weights: Floats
    """[n]."""
    folds: NDArray[np.int64]
    """[n], from 0."""
    own: int
    """The model's own observations, which come last; the others are anchors."""


def predicted_preferences(weights: LengthControlledWeights, difficulties: Sequence[float] | Floats) -> Floats:
    """The predicted preference for the model on each instruction, from 0 to 1, at equal lengths.

    Args:
        weights: fitted here, or published by alpaca_eval for the models of its leaderboard.
        difficulties: of n instructions.

    Returns:
        n preferences; their mean is the length-controlled win rate.
    """
    return logistic(weights.model + weights.difficulty * np.asarray(difficulties, dtype=np.float64))


def length_controlled_win_rate(
    annotations: Sequence[Annotation],
    difficulties: Sequence[float],
    *,
    anchors: Sequence[Anchor] = (),
    expected: int = ALPACA_EVAL_SIZE,
) -> LengthControlledWinRate:
    """Fit the logistic model and predict with the length term set to 0.

    If every response is the reference's own, there is nothing to fit: the rate is 0.5 by construction, whatever the
    judge said, and has no width.

    Args:
        annotations: one verdict per instruction; those without a preference are excluded from the fit.
        difficulties: of the same instructions in the same order.
        anchors: verdicts on variants of the reference (``alpaca_format.read_anchors``).
        expected: the minimum number of preferences.

    Raises:
        UserError: there are fewer preferences than expected.
        ValueError: annotations and difficulties do not pair up.
    """
    judged = judged_annotations(annotations, expected)
    method = METHOD if anchors else METHOD_NO_ANCHORS
    if all(row.output_1 == row.output_2 for row in annotations):
        nothing = LengthControlledWeights(0.0, 0.0, 0.0)
        return LengthControlledWinRate(Estimate(0.5, len(judged), 0.5, 0.5), 0.0, nothing, 0.0, method)
    observations = _observations(annotations, difficulties, anchors)
    fits = _fit_and_choose(observations, observations.weights[None])
    weights = LengthControlledWeights(*fits.chosen[0].tolist())
    predictions = predicted_preferences(weights, difficulties)
    rate = float(predictions.mean())
    low, high = _interval(observations, rate)
    return LengthControlledWinRate(
        Estimate(round(rate, 4), len(judged), round(low, 4), round(high, 4)),
        standard_error(predictions),
        weights,
        _PENALTIES[int(fits.places[0])],
        method,
    )


def _observations(
    annotations: Sequence[Annotation], difficulties: Sequence[float], anchors: Sequence[Anchor]
) -> _Observations:
    """The anchors, then the model's own comparisons that have a verdict."""
    differences = np.array([len(row.output_1) - len(row.output_2) for row in annotations], dtype=np.float64)
    spread = np.std(differences, ddof=1) if len(differences) > 1 else 0.0
    # If all pairs differ by the same length, there is nothing to standardise, and the term is 0.
    lengths = np.tanh(differences / spread) if spread > 0 else np.zeros_like(differences)
    own = [
        (length, difficulty, 1.0)
        for row, length, difficulty in zip(annotations, lengths, difficulties, strict=True)
        if row.preference is not None
    ]
    fixed = [(float(np.tanh(anchor.length_difference)), anchor.difficulty, 0.0) for anchor in anchors]
    variants = len({anchor.variant for anchor in anchors})
    preferences = preferences_of([row for row in annotations if row.preference is not None])
    return _Observations(
        np.array([*fixed, *own], dtype=np.float64),
        np.concatenate([[anchor.preference for anchor in anchors], preferences]).clip(_RARELY, 1 - _RARELY),
        np.concatenate([np.full(len(fixed), _ANCHORS_WEIGHT / max(1, variants)), np.ones(len(own))]),
        _folds(len(fixed) + len(own)),
        len(own),
    )


def _folds(count: int) -> NDArray[np.int64]:
    """The fold of each observation, as scikit-learn's GroupKFold divides groups of equal size."""
    return (count - 1 - np.arange(count)) % min(_FOLDS, count)


@dataclass(frozen=True)
class _Fits:
    """Fits of several weightings of the observations."""

    chosen: Floats
    """The weights with the chosen penalty [weightings, 3]."""
    weakest: Floats
    """The weights with the weakest penalty [weightings, 3]."""
    places: NDArray[np.int64]
    """The place of the chosen penalty among all [weightings]."""


def _fit_and_choose(observations: _Observations, weights: Floats) -> _Fits:
    """Choose for each weighting [weightings, n] the penalty with the smallest log loss on held-out observations.

    The strongest penalty breaks ties.
    """
    features, preferences = observations.features, observations.preferences
    losses = np.zeros((len(_PENALTIES), len(weights)))
    for fold in range(observations.folds.max() + 1):
        is_held_out = observations.folds == fold
        path = fit_path(features, preferences, weights * ~is_held_out, _PENALTIES)
        held_out = weights[:, is_held_out]
        for place, coefficients in enumerate(path):
            loss = log_losses(coefficients @ features[is_held_out].T, preferences[is_held_out])
            losses[place] += np.einsum("po,po->p", held_out, loss) / is_held_out.sum()
    places = losses.argmin(axis=0)
    path = fit_path(features, preferences, weights, _PENALTIES)
    return _Fits(path[places, np.arange(len(weights))], path[-1], places)


def _interval(observations: _Observations, rate: float) -> tuple[float, float]:
    """The 95% percentile interval over resampled instructions, with a fixed seed; anchors are not resampled."""
    generator = np.random.default_rng(0)
    own = observations.own
    chosen: list[float] = []
    weakest: list[float] = []
    for start in range(0, _RESAMPLES, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, _RESAMPLES - start)
        counts = generator.multinomial(own, [1 / own] * own, size=size).astype(np.float64)
        fixed = np.broadcast_to(observations.weights[:-own], (size, len(observations.weights) - own))
        fits = _fit_and_choose(observations, np.hstack([fixed, counts]))
        chosen += _rates(observations, fits.chosen, counts)
        weakest += _rates(observations, fits.weakest, counts)
    (low, high), (weakest_low, weakest_high) = percentile_bounds(np.array(chosen)), percentile_bounds(np.array(weakest))
    return min(low, weakest_low, rate), max(high, weakest_high, rate)


def _rates(observations: _Observations, weights: Floats, counts: Floats) -> list[float]:
    """The mean prediction at equal lengths of each resample."""
    difficulties = observations.features[-observations.own :, 1]
    predictions = logistic(weights[:, 2, None] + weights[:, 1, None] * difficulties)
    rates: list[float] = ((counts * predictions).sum(axis=1) / counts.sum(axis=1)).tolist()
    return rates
