"""Confusion matrices of two classes, with precision, recall, F1 and Cohen's kappa."""

from collections.abc import Iterable
from dataclasses import dataclass

from response_tuning.evaluation.shared.statistics import Estimate, estimate_kappa, estimate_mean

__all__ = ["Confusion", "confusion"]


@dataclass(frozen=True)
class Confusion:
    """The counts of each combination of prediction and truth.

    The n of an estimate is the number of pairs behind it. An estimate is None if the matrix does not define it, such as
    the precision without a positive prediction. No interval has zero width: a few pairs that all agree do not prove
    that the next one will.

    Accuracy, precision, recall and specificity are proportions, with the 95% interval of a proportion
    (``estimate_mean``).
    """

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def n(self) -> int:
        """All pairs."""
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives

    @property
    def accuracy(self) -> Estimate | None:
        """The proportion of pairs that agree."""
        return _proportion(self.true_positives + self.true_negatives, self.n)

    @property
    def precision(self) -> Estimate | None:
        """The proportion of positive predictions that are true."""
        return _proportion(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> Estimate | None:
        """The proportion of positive truths that are predicted."""
        return _proportion(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def specificity(self) -> Estimate | None:
        """The proportion of negative truths that are predicted."""
        return _proportion(self.true_negatives, self.true_negatives + self.false_positives)

    @property
    def f1(self) -> Estimate | None:
        """The harmonic mean of precision and recall.

        F1 is 2J / (1 + J), where J (Jaccard's index) is the proportion of true positives among the pairs that are
        positive on either side. It grows with J, so the bounds of J's interval give those of F1's.
        """
        either = self.true_positives + self.false_positives + self.false_negatives
        shared = _proportion(self.true_positives, either)
        if shared is None:
            return None
        low, high = (2 * bound / (1 + bound) for bound in (shared.low, shared.high))
        value = 2 * self.true_positives / (either + self.true_positives)
        return Estimate(round(value, 4), self.n, round(low, 4), round(high, 4))

    @property
    def kappa(self) -> Estimate | None:
        """Cohen's kappa (1960): agreement beyond chance; 1 is full agreement, 0 is chance.

        None if both sides have the same single class: chance then explains everything.
        """
        return estimate_kappa(
            [[self.true_positives, self.false_positives], [self.false_negatives, self.true_negatives]]
        )


def confusion(pairs: Iterable[tuple[bool, bool]]) -> Confusion:
    """Count pairs of (prediction, truth)."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    for pair in pairs:
        counts[pair] += 1
    return Confusion(
        true_positives=counts[True, True],
        false_positives=counts[True, False],
        false_negatives=counts[False, True],
        true_negatives=counts[False, False],
    )


def _proportion(part: int, whole: int) -> Estimate | None:
    return estimate_mean([1.0] * part + [0.0] * (whole - part)) if whole else None
