"""Who rates what, in which order and on which side: decided before the first vote.

Every pair of runs is compared on every prompt. A fraction of the pairs goes to all raters (``overlap``), so that their
agreement can be measured; each of the others goes to one rater, in turn. Each rater sees each run on the left as often as
on the right, in an order of their own. Everything follows from the seed.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

__all__ = ["Assignment", "plan_assignments"]


@dataclass(frozen=True)
class Assignment:
    """One screen of one rater."""

    rater: int
    """From 0."""
    position: int
    """Among the rater's screens, from 0."""
    prompt: int
    left: int
    """The run on the left; the only one where a screen shows one response."""
    right: int | None


def plan_assignments(
    responses: Sequence[Sequence[str]], *, raters: int, overlap: float, pairs: bool, seed: int
) -> list[Assignment]:
    """All screens of all raters.

    Two responses with the same text are not shown: they are a tie.

    Args:
        responses: [prompts][runs] texts.
        raters: How many there are.
        overlap: The fraction of screens that every rater sees, from 0 to 1.
        pairs: Whether a screen shows two responses.
        seed: Of all that is drawn.
    """
    generator = random.Random(seed)
    screens = _screens(responses, pairs=pairs)
    generator.shuffle(screens)
    shared = round(overlap * len(screens))
    assignments: list[Assignment] = []
    for rater in range(raters):
        own = [*screens[:shared], *screens[shared + rater :: raters]]
        generator.shuffle(own)
        assignments += [
            Assignment(rater, position, prompt, *sides)
            for position, (prompt, sides) in enumerate(zip([screen[0] for screen in own], _sides(own, generator)))
        ]
    return assignments


def _screens(responses: Sequence[Sequence[str]], *, pairs: bool) -> list[tuple[int, tuple[int, ...]]]:
    """The prompt and the runs of each screen."""
    screens: list[tuple[int, tuple[int, ...]]] = []
    for prompt, texts in enumerate(responses):
        runs = range(len(texts))
        shown = combinations(runs, 2) if pairs else ((run,) for run in runs)
        screens += [(prompt, of) for of in shown if len(of) == 1 or texts[of[0]].strip() != texts[of[1]].strip()]
    return screens


def _sides(screens: Sequence[tuple[int, tuple[int, ...]]], generator: random.Random) -> list[tuple[int, int | None]]:
    """The runs on the left and on the right: within each pair of runs each side as often, give or take one."""
    flips: dict[tuple[int, ...], list[bool]] = {}
    for _, runs in screens:
        flips.setdefault(runs, []).append(len(flips.get(runs, ())) % 2 == 0)
    for drawn in flips.values():
        if len(drawn) % 2:
            drawn[-1] = generator.random() < 0.5
        generator.shuffle(drawn)
    sides: list[tuple[int, int | None]] = []
    for _, runs in screens:
        if len(runs) == 1:
            sides.append((runs[0], None))
        else:
            first, second = runs if flips[runs].pop() else runs[::-1]
            sides.append((first, second))
    return sides
