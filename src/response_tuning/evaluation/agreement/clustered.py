"""Agreement of verdicts with labels where several responses answer one prompt: prompts are resampled, not rows."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.confusion import confusion
from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["agreement_estimates"]

_RESAMPLES = 10_000
_AT_ONCE = 1_000
_FEWEST_CLUSTERS = 10
"""With fewer prompts, resampling them gives no usable interval."""

Counts = NDArray[np.float64]
Pairs = Sequence[tuple[bool, bool]]


def agreement_estimates(prompts: Sequence[str], pairs: Pairs) -> dict[str, Estimate | None]:
    """Accuracy, Cohen's kappa, precision and recall, each with its 95% interval.

    Rows of one prompt depend on each other. Where at least ten prompts have several rows between them, the intervals
    are percentile bootstraps over prompts (Field & Welsh 2007), 10,000 resamples with a fixed seed. Otherwise, and
    where all rows agree, they are those of ``Confusion``, over rows.

    Args:
        prompts: the prompt of each row.
        pairs: verdict and label of each row.
    """
    table = confusion(pairs)
    by_rows = {"accuracy": table.accuracy, "kappa": table.kappa, "precision": table.precision, "recall": table.recall}
    counts = _counts_per_prompt(prompts, pairs)
    if not _FEWEST_CLUSTERS <= len(counts) < len(pairs) or table.false_positives + table.false_negatives == 0:
        return by_rows
    return {
        name: None if estimate is None else _resampled(_STATISTICS[name], counts, estimate)
        for name, estimate in by_rows.items()
    }


def _counts_per_prompt(prompts: Sequence[str], pairs: Pairs) -> Counts:
    """[prompts, 4]: true positives, false positives, false negatives, true negatives."""
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    counts = np.zeros((len(places), 4))
    for prompt, (verdict, label) in zip(prompts, pairs, strict=True):
        counts[places[prompt], (0 if label else 1) if verdict else (2 if label else 3)] += 1
    return counts


def _resampled(statistic: Callable[[Counts], Counts], counts: Counts, by_rows: Estimate) -> Estimate:
    generator = np.random.default_rng(0)
    drawn = [
        statistic((generator.multinomial(len(counts), [1 / len(counts)] * len(counts), size=_AT_ONCE) @ counts).T)
        for _ in range(_RESAMPLES // _AT_ONCE)
    ]
    low, high = np.nanpercentile(np.concatenate(drawn), [2.5, 97.5]).tolist()
    return Estimate(by_rows.value, by_rows.n, round(low, 4), round(high, 4))


def _divide(part: Counts, whole: Counts) -> Counts:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _kappa(counts: Counts) -> Counts:
    both, verdict_only, label_only, neither = counts
    total = counts.sum(axis=0)
    chance = (both + verdict_only) * (both + label_only) + (neither + verdict_only) * (neither + label_only)
    by_chance = _divide(chance, total**2)
    return _divide(_divide(both + neither, total) - by_chance, 1 - by_chance)


_STATISTICS: dict[str, Callable[[Counts], Counts]] = {
    "accuracy": lambda counts: _divide(counts[0] + counts[3], counts.sum(axis=0)),
    "kappa": _kappa,
    "precision": lambda counts: _divide(counts[0], counts[0] + counts[1]),
    "recall": lambda counts: _divide(counts[0], counts[0] + counts[2]),
}
