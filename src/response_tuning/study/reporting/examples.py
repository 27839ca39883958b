"""Some prompts with the response of every arm, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

from response_tuning.study.reporting.results import Results

__all__ = ["ShownPrompt", "shown_prompts"]

_MOST_ARMS = 12


@dataclass(frozen=True)
class ShownPrompt:
    """A prompt, and its responses by arm."""

    evaluation: str
    prompt: str
    responses: dict[str, str]


def shown_prompts(results: Sequence[Results], count: int) -> list[ShownPrompt]:
    """Evenly spaced prompts of the first evaluation with responses, not selected ones; each arm by its first seed."""
    for of in results:
        sides = [(arm.name, {str(row.get("prompt")): row for row in arm.cells[0].rows}) for arm in of.arms[:_MOST_ARMS]]
        if not sides:
            continue
        common = [prompt for prompt in sides[0][1] if all(prompt in rows for _, rows in sides)]
        if not any("response" in sides[0][1][prompt] for prompt in common):
            continue
        shown = min(count, len(common))
        return [
            ShownPrompt(of.label, prompt, {name: str(rows[prompt].get("response", "")) for name, rows in sides})
            for prompt in (common[number * len(common) // shown] for number in range(shown))
        ]
    return []
