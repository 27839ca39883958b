"""Positions in numbers: values per response, rates by position, and the tokens that are shifted most."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import fmean

from response_tuning.evaluation.token_shift.positions import Position

__all__ = ["METRICS", "Bin", "ShiftedToken", "bins", "shifted_tokens", "values_of"]

METRICS = ("unshifted", "marginal", "shifted", "kl", "first_divergence")
_MOST_TOKENS = 20


def values_of(positions: Sequence[Position]) -> dict[str, tuple[float, int] | float]:
    """The values of one response, of which metrics are made: rates as a count and the number of its tokens.

    ``kl`` is the mean over its tokens, which has no upper bound. ``first_divergence`` is the number of tokens before
    the first position at which the two models' choices differ; all of them where there is none. Empty for a response
    without tokens.
    """
    if not positions:
        return {}
    count = len(positions)
    shifts = Counter(position.shift for position in positions)
    divergences = (place for place, position in enumerate(positions) if position.base_rank > 1)
    return {
        "unshifted": (float(shifts["unshifted"]), count),
        "marginal": (float(shifts["marginal"]), count),
        "shifted": (float(shifts["shifted"]), count),
        "kl": fmean(position.kl for position in positions),
        "first_divergence": float(next(divergences, count)),
    }


@dataclass(frozen=True)
class Bin:
    """Positions ``first`` to ``last`` of all responses, counted from 1."""

    first: int
    last: int
    n: int
    """The number of tokens at these positions."""
    unshifted: float
    marginal: float
    shifted: float
    kl: float
    """Mean KL(run || base) [nats]."""


def bins(responses: Sequence[Sequence[Position]]) -> list[Bin]:
    """Rates by position, in bins that double: 1, 2, 3-4, 5-8 and so on. The last one ends with the longest response."""
    longest = max(map(len, responses), default=0)
    made, first = [], 1
    while first <= longest:
        last = min(first if first == 1 else 2 * (first - 1), longest)
        inside = list(chain.from_iterable(positions[first - 1 : last] for positions in responses))
        made.append(_bin(first, last, inside))
        first = last + 1
    return made


def _bin(first: int, last: int, inside: Sequence[Position]) -> Bin:
    shifts = Counter(position.shift for position in inside)
    unshifted, marginal, shifted = (shifts[name] / len(inside) for name in ("unshifted", "marginal", "shifted"))
    return Bin(first, last, len(inside), unshifted, marginal, shifted, fmean(position.kl for position in inside))


@dataclass(frozen=True)
class ShiftedToken:
    """A token that the run chooses where the base model would not."""

    text: str
    shifted: int
    """How often it is chosen at a shifted position."""
    chosen: int
    """How often it is chosen at all."""
    instead: str
    """What the base model would most often have said at the shifted positions."""


def shifted_tokens(
    responses: Sequence[Sequence[Position]], text_of: Callable[[int], str], *, most: int = _MOST_TOKENS
) -> list[ShiftedToken]:
    """The tokens that are shifted most often, by count; equal counts by the text.

    Args:
        responses: the positions of each response.
        text_of: the text of a token.
        most: how many.
    """
    chosen = Counter(position.choice for positions in responses for position in positions)
    instead: dict[int, Counter[int]] = defaultdict(Counter)
    for position in chain.from_iterable(responses):
        if position.shift == "shifted":
            instead[position.choice][position.base_choice] += 1
    tokens = [
        ShiftedToken(text_of(token), counts.total(), chosen[token], text_of(counts.most_common(1)[0][0]))
        for token, counts in instead.items()
    ]
    return sorted(tokens, key=lambda token: (-token.shifted, token.text))[:most]
