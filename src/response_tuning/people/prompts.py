"""The prompts of a rating: an evaluation set by name, a file, or a data set."""

import random
from dataclasses import dataclass
from pathlib import Path

from response_tuning.data.sources.load_examples import SourceOptions, read_rows
from response_tuning.data.sources.readers import read_file
from response_tuning.example import Example, require_prompts
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record

__all__ = ["RatingPrompt", "rating_prompts"]

_SETS = {"alpaca-eval": "gpt4_1106_preview", "just-eval": "just-eval"}
"""Evaluation sets, each with the asset that holds its instructions."""
_JUST_EVAL_REGULAR = 800
"""The first ones; the others are safety prompts, which the paper's raters did not see."""
_FLAGGED = "flagged"


@dataclass(frozen=True)
class RatingPrompt:
    """A prompt, and whether its row says that it is harmful."""

    text: str
    flagged: bool = False


def rating_prompts(spec: str, *, most: int | None = None, seed: int = 0, offline: bool = False) -> list[RatingPrompt]:
    """The prompts that ``spec`` names, each once, in their order.

    Args:
        spec: "alpaca-eval", "just-eval", a JSONL file whose rows have ``prompt``, or a data set.
        most: Draw this many.
        seed: Of the draw.
        offline: Whether nothing may be fetched.

    Raises:
        UserError: it cannot be read or fetched, a row has no prompt, or there are none.
    """
    read = _of_set(spec, offline) if spec in _SETS else _of_data(spec, offline)
    prompts = list({prompt.text: prompt for prompt in read}.values())
    if not prompts:
        raise UserError(f"{spec} has no prompts.")
    if most is None or most >= len(prompts):
        return prompts
    kept = sorted(random.Random(seed).sample(range(len(prompts)), most))
    return [prompts[place] for place in kept]


def _of_set(name: str, offline: bool) -> list[RatingPrompt]:
    path = fetch(ASSETS[_SETS[name]], offline=offline)
    records = [record for record in read_file(path) if isinstance(record, Record)]
    texts = [str(record.value["instruction"]) for record in records]
    return [RatingPrompt(text) for text in texts[: _JUST_EVAL_REGULAR if name == "just-eval" else None]]


def _of_data(spec: str, offline: bool) -> list[RatingPrompt]:
    path = Path(spec)
    if path.is_file() and path.suffix == ".jsonl":
        return _of_file(path)
    rows = read_rows(spec, SourceOptions(offline=offline))
    bad = [row for row in rows if isinstance(row, BadRow)]
    if bad:
        raise UserError("\n".join(str(row) for row in bad[:20]))
    examples = [row.example for row in rows if not isinstance(row, BadRow)]
    require_prompts(examples, source=spec, purpose="a rating")
    return [RatingPrompt(example.prompt or "", _is_flagged(example)) for example in examples]


def _is_flagged(example: Example) -> bool:
    return (example.model_extra or {}).get(_FLAGGED) is True


def _of_file(path: Path) -> list[RatingPrompt]:
    """The prompts of a JSONL file, whose rows need no completion."""
    prompts, bad = [], []
    for record in read_file(path):
        row = record.value if isinstance(record, Record) else None
        text = row.get("prompt", row.get("instruction")) if isinstance(row, dict) else None
        if isinstance(record, BadRow):
            bad.append(str(record))
        elif isinstance(row, dict) and isinstance(text, str) and text.strip():
            prompts.append(RatingPrompt(text, row.get(_FLAGGED) is True))
        else:
            bad.append(f"{record.place}: should have a text 'prompt', and has: {_names(row)}")
    if bad:
        more = f"\n... and {len(bad) - 20} more" if len(bad) > 20 else ""
        raise UserError("\n".join(bad[:20]) + more)
    return prompts


def _names(row: object) -> str:
    return (", ".join(map(str, row)) or "no fields") if isinstance(row, dict) else "no fields"
