"""How far raters agree: raw agreement, and Krippendorff's alpha with an interval over prompts.

The point estimate of alpha is evalica's. Its own bootstrap resamples single ratings, which gives an interval that is
too narrow; here whole prompts are resampled, with all ratings of all their responses.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from response_tuning.evaluation.shared.statistics.resampling import percentile_bounds
from response_tuning.people.judgements import Judgement
from response_tuning.support.extras import require_extra

__all__ = ["Agreement", "Distance", "agreement", "alpha_bounds", "krippendorff_alpha"]

Floats = NDArray[np.float64]
Distance = Literal["nominal", "ordinal"]
Units = Mapping[tuple[str, str], Mapping[str, float]]
"""The values of each unit (a prompt, and what the values are about) by rater."""

_DRAWS = 2_000


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on the same screens."""

    prompts: int
    """That two raters or more judged."""
    same: float
    """The rate of pairs of raters that say the same, each unit counted once."""
    half_for_ties: float
    """The same, where a tie against a side counts half; that of ``same`` for values without ties."""
    alpha: float | None
    """Krippendorff's alpha; None where all ratings are equal, so that it is not defined."""
    low: float | None
    """The bounds of alpha's 95% interval over prompts; None where alpha is."""
    high: float | None


def agreement(
    judgements: Sequence[Judgement],
    value: Callable[[Judgement], Mapping[str, float]],
    *,
    distance: Distance,
    tie: float | None = None,
) -> Agreement | None:
    """How far raters agree on the values of the same units; None where no unit has two raters.

    Args:
        judgements: Of all raters.
        value: The values of a judgement by what they are about, such as a run, or a pair of runs.
        distance: Krippendorff's.
        tie: The value of a tie, between 0 and 1.

    Raises:
        UserError: evalica is not installed.
    """
    units: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for each in judgements:
        for about, said in value(each).items():
            units[each.prompt, about][each.rater] = said
    shared = {key: votes for key, votes in units.items() if len(votes) > 1}
    if not shared:
        return None
    alpha = krippendorff_alpha(shared, distance)
    low, high = (None, None) if alpha is None else alpha_bounds(shared, distance)
    return Agreement(
        prompts=len({prompt for prompt, _ in shared}),
        same=_mean_over_pairs(shared, lambda one, other: float(one == other)),
        half_for_ties=_mean_over_pairs(
            shared, lambda one, other: 1 - abs(one - other) if tie in (one, other) else float(one == other)
        ),
        alpha=alpha,
        low=low,
        high=high,
    )


def _mean_over_pairs(units: Units, agrees: Callable[[float, float], float]) -> float:
    """The mean over units of the mean over their pairs of raters."""
    of_units = [
        float(np.mean([agrees(one, other) for one, other in combinations(said.values(), 2)])) for said in units.values()
    ]
    return sum(of_units) / len(of_units)


def krippendorff_alpha(units: Units, distance: Distance) -> float | None:
    """Krippendorff's alpha (2018, chapter 12); None where all ratings are equal.

    Args:
        units: Of each unit the values by rater; units with one value do not count.
        distance: "nominal", or "ordinal" for levels.

    Raises:
        UserError: evalica is not installed.
    """
    require_extra("evalica", "rate", purpose="Krippendorff's alpha")
    import evalica
    import pandas

    ratings = {unit: said for unit, said in units.items() if len(said) > 1}
    if len({value for said in ratings.values() for value in said.values()}) < 2:
        return None
    columns = [*ratings.values()]
    raters = list(dict.fromkeys(rater for said in columns for rater in said))
    table = pandas.DataFrame([[said.get(rater) for said in columns] for rater in raters], dtype=float)
    return float(evalica.alpha(table, distance).alpha)


def alpha_bounds(units: Units, distance: Distance) -> tuple[float, float]:
    """The 95% interval of alpha: the percentiles of 2,000 samples of prompts, with a fixed seed.

    Alpha depends on the ratings through the coincidences of values (Krippendorff 2018, chapter 12), which are sums over
    units: a sample of prompts is a weighted sum.
    """
    sums = _coincidences(units)  # [prompts, values, values]
    generator = np.random.default_rng(0)
    times = generator.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=_DRAWS).astype(np.float64)
    drawn = (times @ sums.reshape(len(sums), -1)).reshape(-1, *sums.shape[1:])
    return percentile_bounds(_alphas(drawn, distance))


def _coincidences(units: Units) -> Floats:
    """The coincidences of values within the units of each prompt [prompts, values, values]."""
    values = sorted({value for said in units.values() for value in said.values()})
    place = {value: number for number, value in enumerate(values)}
    prompts: dict[str, int] = {}
    for prompt, _ in units:
        prompts.setdefault(prompt, len(prompts))
    sums = np.zeros((len(prompts), len(values), len(values)))
    for (prompt, _), said in units.items():
        counts = np.bincount([place[value] for value in said.values()], minlength=len(values)).astype(np.float64)
        if counts.sum() > 1:
            sums[prompts[prompt]] += (np.outer(counts, counts) - np.diag(counts)) / (counts.sum() - 1)
    return sums


def _alphas(coincidences: Floats, distance: Distance) -> Floats:
    """Alpha of each table of coincidences [..., values, values].

    Where all values of a table are equal, raters agreed on everything that was drawn: 1.
    """
    totals = coincidences.sum(axis=-1)
    count = totals.sum(axis=-1)
    if distance == "nominal":
        distances = np.broadcast_to(1 - np.eye(totals.shape[-1]), coincidences.shape)
    else:  # the number of ratings between two values, and half of those at the two
        ends = np.cumsum(totals, axis=-1) - totals / 2
        distances = (ends[..., :, None] - ends[..., None, :]) ** 2
    observed = (coincidences * distances).sum(axis=(-2, -1))
    expected = (totals[..., :, None] * totals[..., None, :] * distances).sum(axis=(-2, -1))
    ratio = np.divide((count - 1) * observed, expected, out=np.zeros_like(observed), where=expected > 0)
    alphas: Floats = 1 - ratio
    return alphas
