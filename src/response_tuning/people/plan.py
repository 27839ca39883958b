"""Who rates what, in which order and on which side: decided before the first vote.

Every pair of runs is compared on every prompt. A fraction of the screens goes to all raters (``overlap``), so that
their agreement can be measured; each of the others goes to one rater. Raters get each pair of runs as often, give or
take one, and see each run of a pair on the left as often as on the right, in an order of their own. Everything follows
from the seed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

__all__ = ["Assignment", "plan_assignments"]

_Row = tuple[int | None, int | None, int | None, int | None]
"""The fields of an assignment from ``prompt`` on."""
_Screen = tuple[int, tuple[int, ...]]
"""A prompt, and the runs whose responses are shown."""


@dataclass(frozen=True)
class Assignment:
    """One screen of one rater: responses of runs, or a sample screen of the protocol."""

    rater: int
    """From 0."""
    position: int
    """Among the rater's screens, from 0."""
    prompt: int | None
    """None for a sample screen."""
    left: int | None = None
    """The run on the left; the only one where a screen shows one response."""
    right: int | None = None
    sample: int | None = None
    """The sample screen: those of the training round first, and then the attention checks."""


def plan_assignments(
    responses: Sequence[Sequence[str]],
    *,
    raters: int,
    overlap: float,
    pairs: bool,
    seed: int,
    training: int = 0,
    checks: int = 0,
) -> list[Assignment]:
    """All screens of all raters, in the order of raters and positions.

    Two responses with the same text are not shown: they are a tie.

    Args:
        responses: [prompts][runs] texts.
        raters: How many there are.
        overlap: The fraction of screens that every rater sees, from 0 to 1.
        pairs: Whether a screen shows two responses.
        seed: Of all that is drawn.
        training: How many sample screens begin each rater's work.
        checks: How many further sample screens are hidden among the others.
    """
    generator = random.Random(seed)
    shared, others = _divide(_screens(responses, pairs=pairs), overlap, generator)
    assignments: list[Assignment] = []
    for rater in range(raters):
        own = [*shared, *others[rater::raters]]
        generator.shuffle(own)
        samples = list(range(training, training + checks)) if own else []
        generator.shuffle(samples)
        planned: list[_Row] = [(prompt, left, right, None) for prompt, (left, right) in _with_sides(own, generator)]
        hidden = _hide(planned, [(None, None, None, sample) for sample in samples], generator)
        first: list[_Row] = [(None, None, None, sample) for sample in range(training if own else 0)]
        assignments += [Assignment(rater, place, *screen) for place, screen in enumerate([*first, *hidden])]
    return assignments


def _screens(responses: Sequence[Sequence[str]], *, pairs: bool) -> list[_Screen]:
    """The prompt and the runs of each screen."""
    screens: list[_Screen] = []
    for prompt, texts in enumerate(responses):
        runs = range(len(texts))
        shown = combinations(runs, 2) if pairs else ((run,) for run in runs)
        screens += [(prompt, of) for of in shown if len(of) == 1 or texts[of[0]].strip() != texts[of[1]].strip()]
    return screens


def _divide(screens: list[_Screen], overlap: float, generator: random.Random) -> tuple[list[_Screen], list[_Screen]]:
    """The screens of all raters, and those to deal out, sorted so that every rater is dealt each pair as often."""
    generator.shuffle(screens)
    of_runs: dict[tuple[int, ...], list[_Screen]] = {}
    for screen in screens:
        of_runs.setdefault(screen[1], []).append(screen)
    in_turn = sorted((place, runs) for runs, of in of_runs.items() for place in range(len(of)))
    chosen = in_turn[: round(overlap * len(screens))]
    shared = [of_runs[runs][place] for place, runs in chosen]
    kept = set(chosen)
    return shared, [of[place] for runs, of in of_runs.items() for place in range(len(of)) if (place, runs) not in kept]


def _with_sides(screens: Sequence[_Screen], generator: random.Random) -> list[tuple[int, tuple[int, int | None]]]:
    """The runs on the left and on the right: within each pair of runs each side as often, give or take one."""
    counts: dict[tuple[int, ...], int] = {}
    for _, runs in screens:
        counts[runs] = counts.get(runs, 0) + 1
    flips = {runs: _flips(count, generator) for runs, count in counts.items()}
    placed: list[tuple[int, tuple[int, int | None]]] = []
    for prompt, runs in screens:
        if len(runs) == 1:
            placed.append((prompt, (runs[0], None)))
        else:
            left, right = runs[::-1] if flips[runs].pop() else runs
            placed.append((prompt, (left, right)))
    return placed


def _flips(count: int, generator: random.Random) -> list[bool]:
    """As many true as false in any order, and one at random where the count is odd."""
    flips = [place % 2 == 0 for place in range(count)]
    if count % 2:
        flips[-1] = generator.random() < 0.5
    generator.shuffle(flips)
    return flips


def _hide(screens: Sequence[_Row], samples: Sequence[_Row], generator: random.Random) -> list[_Row]:
    """The samples among the screens: one at random in each of as many parts of equal size."""
    result = list(screens)
    for number, sample in reversed(list(enumerate(samples))):
        start, end = (round(len(screens) * edge / len(samples)) for edge in (number, number + 1))
        result.insert(generator.randint(start, end), sample)
    return result
