"""Several raters' votes on the same item, joined: by their mean, by majority, or by a model of their errors.

An item is a response, whose values are the levels of the protocol or acceptability, or a pair of responses, whose
values are "first", "tie" and "second". Joined, an item is a probability of each value, and all estimates of a rating
are means over items.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Join", "dawid_skene", "join_votes"]

Join = Literal["mean", "majority", "dawid-skene"]
Floats = NDArray[np.float64]
Item = TypeVar("Item", bound=Hashable)

_STEPS = 200
_CONVERGED = 1e-8
_SMOOTHING = 0.01
"""Added to every count of a rater's confusion table, so that no error is impossible."""


def join_votes(votes: Mapping[Item, Mapping[str, int]], classes: int, how: Join) -> dict[Item, Floats]:
    """The probability of each value of each item.

    Args:
        votes: Of each item the value that each rater gave, from 0.
        classes: How many values there are.
        how: "mean": the fraction of raters for each value. "majority": the value of most raters, in equal parts where
            several have as many. "dawid-skene": see ``dawid_skene``.

    Returns:
        Of each item, an array [classes] that sums to 1.
    """
    if not votes:
        return {}
    if how == "dawid-skene":
        return dawid_skene(votes, classes)
    joined = {}
    for item, said in votes.items():
        counts = np.bincount(list(said.values()), minlength=classes).astype(np.float64)
        if how == "majority":
            counts = (counts == counts.max()).astype(np.float64)
        joined[item] = counts / counts.sum()
    return joined


def dawid_skene(votes: Mapping[Item, Mapping[str, int]], classes: int) -> dict[Item, Floats]:
    """The posterior of each item's true value, when each rater errs in a way of their own (Dawid & Skene 1979).

    Expectation-maximisation from the raters' mean, until no posterior changes by more than 1e-8.

    Args:
        votes: As of ``join_votes``.
        classes: How many values there are.
    """
    items = list(votes)
    raters = {rater: place for place, rater in enumerate(dict.fromkeys(r for said in votes.values() for r in said))}
    said: Sequence[tuple[int, int, int]] = [
        (place, raters[rater], value) for place, item in enumerate(items) for rater, value in votes[item].items()
    ]
    item_of, rater_of, value_of = (np.array(column) for column in zip(*said, strict=True))
    truth = np.zeros((len(items), classes))
    np.add.at(truth, (item_of, value_of), 1.0)
    truth /= truth.sum(axis=1, keepdims=True)
    for _ in range(_STEPS):
        confusion = np.full((len(raters), classes, classes), _SMOOTHING)  # [rater, said, true]
        np.add.at(confusion, (rater_of, value_of), truth[item_of])
        confusion /= confusion.sum(axis=1, keepdims=True)
        frequency = truth.mean(axis=0) + 1e-12
        logs = np.tile(np.log(frequency), (len(items), 1))
        np.add.at(logs, item_of, np.log(confusion[rater_of, value_of]))
        new = np.exp(logs - logs.max(axis=1, keepdims=True))
        new /= new.sum(axis=1, keepdims=True)
        change = np.abs(new - truth).max()
        truth = new
        if change < _CONVERGED:
            break
    return dict(zip(items, truth, strict=True))
