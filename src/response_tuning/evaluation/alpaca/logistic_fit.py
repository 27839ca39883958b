"""Logistic regression with an L1 penalty and few features, for many weightings of the same observations at once.

scikit-learn fits one weighting at a time, with a penalty chosen by cross-validation in about a second. A bootstrap of
that choice needs thousands of fits. With three features a proximal Newton step (Lee, Sun & Saunders 2014) is a small
problem for each weighting, and their logits are one matrix multiplication.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["fit_path", "log_losses", "logistic"]

Floats = NDArray[np.float64]

_STEPS = 100
_SWEEPS = 60
_TOLERANCE = 1e-6
_HALVINGS = 12
_RIDGE = 1e-9
"""Keeps a feature that is always 0 from dividing by 0."""


def fit_path(features: Floats, targets: Floats, weights: Floats, inverse_penalties: tuple[float, ...]) -> Floats:
    """Minimise the weighted log loss plus the L1 norm over each inverse penalty, from the strongest to the weakest.

    Args:
        features: [observations, features], without an intercept.
        targets: from 0 to 1 [observations].
        weights: of each observation in each problem [problems, observations].
        inverse_penalties: in ascending order; each fit starts from the one before.

    Returns:
        Coefficients [penalties, problems, features].
    """
    coefficients = np.zeros((len(weights), features.shape[1]))
    path = []
    for inverse_penalty in inverse_penalties:
        coefficients = _fit(features, targets, weights, 1 / inverse_penalty, coefficients)
        path.append(coefficients)
    return np.stack(path)


def log_losses(logits: Floats, targets: Floats) -> Floats:
    """The log loss of each observation, given its logits [problems, observations]."""
    losses: Floats = np.log1p(np.exp(-np.abs(logits))) + np.maximum(logits, 0) - targets * logits
    return losses


def logistic(values: Floats) -> Floats:
    """The logistic function, without overflow."""
    small = np.exp(-np.abs(values))
    probabilities: Floats = np.where(values >= 0, 1.0, small) / (1 + small)
    return probabilities


def _fit(features: Floats, targets: Floats, weights: Floats, penalty: float, start: Floats) -> Floats:
    """Proximal Newton steps for every problem that still moves."""
    coefficients = start.copy()
    count = features.shape[1]
    products = (features[:, :, None] * features[:, None, :]).reshape(len(features), -1)
    moving = np.arange(len(weights))
    for _ in range(_STEPS):
        if not len(moving):
            break
        of_moving, old = weights[moving], coefficients[moving]
        logits = old @ features.T
        probabilities = logistic(logits)
        gradient = (of_moving * (probabilities - targets)) @ features
        hessian = ((of_moving * probabilities * (1 - probabilities)) @ products).reshape(-1, count, count)
        step = _quadratic_minimum(gradient, hessian, old, penalty) - old
        sizes = _step_sizes(logits, step @ features.T, targets, of_moving, penalty, old, step)
        coefficients[moving] = old + sizes[:, None] * step
        moving = moving[np.abs(sizes[:, None] * step).max(axis=1) > _TOLERANCE]
    return coefficients


def _quadratic_minimum(gradient: Floats, hessian: Floats, centre: Floats, penalty: float) -> Floats:
    """The minimum of the quadratic model around ``centre`` with the L1 norm, by coordinate descent."""
    solution = centre.copy()
    diagonal = np.maximum(np.einsum("pii->pi", hessian), _RIDGE)
    slopes = gradient.copy()
    for _ in range(_SWEEPS):
        largest = 0.0
        for place in range(solution.shape[1]):
            free = solution[:, place] - slopes[:, place] / diagonal[:, place]
            shrunk = np.sign(free) * np.maximum(np.abs(free) - penalty / diagonal[:, place], 0)
            change = shrunk - solution[:, place]
            slopes += hessian[:, place] * change[:, None]
            solution[:, place] = shrunk
            largest = max(largest, float(np.abs(change).max()))
        if largest < _TOLERANCE / 10:
            break
    return solution


def _step_sizes(
    logits: Floats, moved: Floats, targets: Floats, weights: Floats, penalty: float, old: Floats, step: Floats
) -> Floats:
    """1, halved for each problem until its objective does not rise. ``moved`` is what a whole step adds to logits."""
    before = _objectives(logits, targets, weights, penalty, old)
    sizes = np.ones(len(old))
    for _ in range(_HALVINGS):
        after = _objectives(logits + sizes[:, None] * moved, targets, weights, penalty, old + sizes[:, None] * step)
        rises = after > before + 1e-9 * np.abs(before)
        if not rises.any():
            break
        sizes[rises] /= 2
    return sizes


def _objectives(logits: Floats, targets: Floats, weights: Floats, penalty: float, coefficients: Floats) -> Floats:
    losses = np.einsum("po,po->p", weights, log_losses(logits, targets))
    objectives: Floats = losses + penalty * np.abs(coefficients).sum(axis=1)
    return objectives
