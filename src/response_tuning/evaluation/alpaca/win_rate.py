"""Win rates against a reference, and the length-controlled win rate (Dubois et al. 2024, arXiv 2404.04475).

Judges favour long responses, so a logistic model of the judge's preference is fitted to one model's comparisons,

    logit P(model preferred) = m + l * tanh((reference length - model length) / standard deviation) + d * difficulty

and the length-controlled win rate is the mean prediction over all instructions with the length term set to 0: the
judge's preference if both responses had the same length. ``difficulty`` is a published number for each instruction of
AlpacaEval. Lengths are in characters. The fit is that of alpaca_eval's ``length_controlled_v1``: an L1 penalty whose
strength is chosen by five-fold cross-validation. Verdicts on a shortened and a lengthened variant of the reference, if
given, are additional observations of small weight without a model term. They separate the strength of a model from the
length of its responses when all of these are far longer than the reference's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.alpaca.alpaca_format import Annotation
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.support.errors import UserError

__all__ = [
    "ALPACA_EVAL_SIZE",
    "LengthControlledWeights",
    "LengthControlledWinRate",
    "WinRate",
    "length_controlled_win_rate",
    "predicted_preferences",
    "standard_error",
    "win_rate",
]

ALPACA_EVAL_SIZE = 805
"""The number of instructions of AlpacaEval."""

_VARIANT_WEIGHT = 0.2
_FOLDS = 5
_PENALTIES = tuple(float(value) for value in np.logspace(-4, 4, 10))
"""Inverse strengths of the L1 penalty to choose from, the strongest first."""
_RESAMPLES = 500
_RARELY = 1e-6

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class WinRate:
    """How often a judge prefers a model's response to the reference's."""

    estimate: Estimate
    """The mean preference, from 0 to 1."""
    standard_error: float
    """The standard error of the mean preference: the sample standard deviation over the square root of n."""
    wins: int
    losses: int
    draws: int

    @property
    def discrete(self) -> float:
        """The proportion of wins, with a draw as half a win."""
        return (self.wins + self.draws / 2) / self.estimate.n


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
    instructions, with the same penalty."""
    standard_error: float
    """As alpaca_eval reports it (``lc_standard_error``): the variation of predictions between instructions. It excludes
    the uncertainty of the fit and is far too small to compare models: use the interval."""
    weights: LengthControlledWeights
    inverse_penalty: float
    """The inverse strength of the L1 penalty that cross-validation chose."""


def win_rate(annotations: Sequence[Annotation], *, expected: int = ALPACA_EVAL_SIZE) -> WinRate:
    """The win rate of ``generator_2`` over ``generator_1``.

    Args:
        annotations: one verdict per instruction; those without a preference are not counted.
        expected: the minimum number of preferences.

    Raises:
        UserError: there are fewer preferences than expected.
    """
    preferences = _preferences(_judged(annotations, expected))
    return WinRate(
        estimate_mean(preferences.tolist()),
        standard_error(preferences),
        wins=int((preferences > 0.5).sum()),
        losses=int((preferences < 0.5).sum()),
        draws=int((preferences == 0.5).sum()),
    )


def standard_error(values: Sequence[float] | Vector) -> float:
    """The standard error of a mean, with the sample standard deviation (n - 1); 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def predicted_preferences(weights: LengthControlledWeights, difficulties: Sequence[float] | Vector) -> Vector:
    """The predicted preference for the model on each instruction, from 0 to 1, at equal lengths.

    Args:
        weights: fitted here, or published by alpaca_eval for the models of its leaderboard.
        difficulties: of n instructions.

    Returns:
        n preferences; their mean is the length-controlled win rate.
    """
    return _logistic(weights.model + weights.difficulty * np.asarray(difficulties, dtype=np.float64))


def length_controlled_win_rate(
    annotations: Sequence[Annotation],
    difficulties: Sequence[float],
    *,
    variants: Sequence[Sequence[Annotation]] = (),
    variant_difficulties: Sequence[Sequence[float]] = (),
    expected: int = ALPACA_EVAL_SIZE,
) -> LengthControlledWinRate:
    """Fit the logistic model and predict with the length term set to 0.

    Args:
        annotations: one verdict per instruction; those without a preference are excluded from the fit.
        difficulties: of the same instructions in the same order.
        variants: verdicts on variants of the reference itself (concise, verbose), for the fit of the length term.
        variant_difficulties: of the instructions of the variants, in the same order.
        expected: the minimum number of preferences.

    Raises:
        UserError: there are fewer preferences than expected.
        ValueError: annotations and difficulties do not pair up.
    """
    _judged(annotations, expected)
    if annotations[0].generator_1 == annotations[0].generator_2:
        return _against_itself(len(annotations))
    observed = _observations(annotations, difficulties, model=1.0, weight=1.0)
    anchors = [
        _observations(rows, of_rows, model=0.0, weight=_VARIANT_WEIGHT / len(variants))
        for rows, of_rows in zip(variants, variant_difficulties, strict=True)
    ]
    anchored = _joined(anchors) if anchors else observed.take(np.empty(0, dtype=np.intp))
    everything = _joined([anchored, observed])
    inverse_penalty = _choose_penalty(everything)
    weights = _fit(everything, inverse_penalty)
    predictions = predicted_preferences(weights, difficulties)
    low, high = _interval(observed, anchored, inverse_penalty)
    return LengthControlledWinRate(
        Estimate(round(float(predictions.mean()), 4), len(observed.preferences), low, high),
        standard_error(predictions),
        weights,
        inverse_penalty,
    )


@dataclass(frozen=True)
class _Observations:
    features: Vector
    """[n, 3]: length, difficulty, model."""
    preferences: Vector
    """[n], from 0 to 1."""
    weights: Vector
    """[n]."""

    def take(self, indices: NDArray[np.intp]) -> "_Observations":
        return _Observations(self.features[indices], self.preferences[indices], self.weights[indices])


def _judged(annotations: Sequence[Annotation], expected: int) -> list[Annotation]:
    judged = [annotation for annotation in annotations if annotation.preference is not None]
    if len(judged) < expected:
        raise UserError(
            f"Only {len(judged)} of {expected} instructions have a verdict ({len(annotations) - len(judged)} of "
            f"{len(annotations)} verdicts could not be parsed). A win rate over fewer instructions is not comparable: "
            "judge the missing ones, or allow them with --allow-unparsed."
        )
    if not judged:
        raise UserError("There are no verdicts.")
    return judged


def _preferences(judged: Sequence[Annotation]) -> Vector:
    return np.array([annotation.model_preference for annotation in judged], dtype=np.float64)


def _against_itself(count: int) -> LengthControlledWinRate:
    """The reference against the reference: nothing to fit."""
    return LengthControlledWinRate(
        Estimate(0.5, count, 0.5, 0.5), 0.0, LengthControlledWeights(0.0, 0.0, 0.0), inverse_penalty=0.0
    )


def _observations(
    annotations: Sequence[Annotation], difficulties: Sequence[float], *, model: float, weight: float
) -> _Observations:
    differences = np.array([len(row.output_1) - len(row.output_2) for row in annotations], dtype=np.float64)
    spread = np.std(differences, ddof=1) if len(differences) > 1 else 0.0
    # If all pairs differ by the same length, there is nothing to standardise, and the term is 0.
    length = np.tanh(differences / spread) if spread > 0 else np.zeros_like(differences)
    features = np.array(
        [[term, difficulty, model] for term, difficulty in zip(length, difficulties, strict=True)], dtype=np.float64
    )
    judged = np.array([annotation.preference is not None for annotation in annotations])
    preferences = _preferences([annotation for annotation in annotations if annotation.preference is not None])
    return _Observations(features[judged], preferences, np.full(len(preferences), weight))


def _joined(parts: Sequence[_Observations]) -> _Observations:
    return _Observations(
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.preferences for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )


def _fit(observations: _Observations, inverse_penalty: float) -> LengthControlledWeights:
    """The weights that minimise the weighted log loss plus the L1 norm over ``inverse_penalty``."""
    from sklearn.linear_model import LogisticRegression

    # scikit-learn takes only class labels: a preference of 0.7 is a win of weight 0.7 and a loss of weight 0.3.
    count = len(observations.preferences)
    # It also needs both classes: a model that always loses gets one win in a million.
    won = observations.preferences.clip(_RARELY, 1 - _RARELY)
    fractions = np.concatenate([won, 1 - won])
    model = LogisticRegression(
        C=inverse_penalty,
        l1_ratio=1.0,
        solver="liblinear",
        fit_intercept=False,
        random_state=0,
        max_iter=1000,
        tol=1e-6,
    )
    model.fit(
        np.concatenate([observations.features, observations.features]),
        np.repeat([1, 0], count),
        sample_weight=fractions * np.concatenate([observations.weights, observations.weights]),
    )
    length, difficulty, strength = (float(weight) for weight in model.coef_[0])
    return LengthControlledWeights(length, difficulty, strength)


def _choose_penalty(observations: _Observations) -> float:
    """The inverse penalty with the smallest log loss on held-out instructions; the strongest penalty breaks ties."""
    count = len(observations.preferences)
    # Neighbouring instructions come from one data set, so contiguous folds would each hold out one kind of instruction.
    folds = np.random.default_rng(0).permutation(count) % min(_FOLDS, count)
    losses = []
    for inverse_penalty in _PENALTIES:
        loss = 0.0
        for fold in range(folds.max() + 1):
            weights = _fit(observations.take(np.flatnonzero(folds != fold)), inverse_penalty)
            loss += _log_loss(observations.take(np.flatnonzero(folds == fold)), weights)
        losses.append(loss)
    return _PENALTIES[int(np.argmin(losses))]


def _log_loss(observations: _Observations, weights: LengthControlledWeights) -> float:
    logits = observations.features @ np.array([weights.length, weights.difficulty, weights.model])
    losses = np.logaddexp(0, logits) - observations.preferences * logits
    return float((observations.weights * losses).sum())


def _interval(observed: _Observations, anchored: _Observations, inverse_penalty: float) -> tuple[float, float]:
    """The 95% percentile interval of the fit over resampled instructions, with a fixed seed."""
    generator = np.random.default_rng(0)
    count = len(observed.preferences)
    rates = []
    for _ in range(_RESAMPLES):
        drawn = observed.take(generator.integers(0, count, size=count))
        weights = _fit(_joined([anchored, drawn]), inverse_penalty)
        rates.append(predicted_preferences(weights, drawn.features[:, 1]).mean())
    low, high = np.percentile(rates, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _logistic(values: Vector) -> Vector:
    return np.exp(-np.logaddexp(0, -values))
