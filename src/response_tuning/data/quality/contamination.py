"""Contamination: texts of evaluation sets that occur in training data.

A row is contaminated if it contains at least 70% of the word 8-grams of an evaluation text (the rule of Chowdhery et
al. 2022, section 8). A text of four to eight words must be the whole prompt or the whole response.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from response_tuning.data.quality.words import run_hashes, words
from response_tuning.data.sources.load_examples import STARTER_HELD_OUT, load_examples
from response_tuning.data.sources.readers import read_file
from response_tuning.example import Example
from response_tuning.support.assets import ASSETS, fetch, find
from response_tuning.support.errors import UserError
from response_tuning.support.input_files import read_bytes
from response_tuning.support.records import BadRow

__all__ = ["EVALUATION_SETS", "Contamination", "EvaluationTexts"]


@dataclass(frozen=True)
class _EvaluationSet:
    """The files that hold the texts of an evaluation set."""

    assets: tuple[str, ...]
    """Assets, each of which holds all of its prompts; the first one in the cache is read."""
    field: str | None = None
    """The field with the prompt, where others hold a model's answers; None uses every text of a row."""


_SETS = {
    "advbench": _EvaluationSet(("advbench",)),
    "harmbench": _EvaluationSet(("harmbench",)),
    "malicious-instruct": _EvaluationSet(("malicious-instruct",)),
    "xstest": _EvaluationSet(("xstest",)),
    "ifeval": _EvaluationSet(("ifeval",)),
    "mt-bench": _EvaluationSet(("mt-bench",)),
    "alpaca-eval": _EvaluationSet(("gpt4_1106_preview", "text_davinci_003"), field="instruction"),
    "just-eval": _EvaluationSet(("just-eval",), field="instruction"),
}
EVALUATION_SETS = tuple(_SETS)
"""The evaluation sets among the assets, by name."""
_RUN = 8
_CONTAINED = 0.7
_FEWEST_WORDS = 4


@dataclass(frozen=True)
class Contamination:
    """An evaluation text that a row contains."""

    evaluation_set: str
    text: str


class EvaluationTexts:
    """The texts of evaluation sets, indexed by their word n-grams."""

    def __init__(self, names: tuple[str, ...], *, offline: bool = False) -> None:
        """Read the sets.

        Args:
            names: evaluation sets by name, or files; empty for all sets that are in the cache.
            offline: fetch nothing.

        Raises:
            UserError: a set cannot be fetched, or a file cannot be read.
        """
        self._texts: list[Contamination] = []
        self._run_counts: list[int] = []
        self._places: dict[int, list[int]] = {}
        self._whole: dict[str, int] = {}
        self.names = list(names) or _cached_sets()
        for name in self.names:
            for text in dict.fromkeys(_texts_of(name, offline)):
                self._add(name, text)

    def find(self, example: Example) -> Contamination | None:
        """The evaluation text that an example contains the largest fraction of; None if it contains none."""
        runs: set[int] = set()  # of both parts: a run that is in both counts once
        for part in (example.prompt or "", example.completion):
            part_words = words(part)
            whole = self._whole.get(" ".join(part_words)) if len(part_words) <= _RUN else None
            if whole is not None:
                return self._texts[whole]
            if len(part_words) >= _RUN:
                runs |= run_hashes(part_words, _RUN)
        hits: Counter[int] = Counter()
        for run in runs:
            hits.update(self._places.get(run, ()))
        fractions = {place: count / self._run_counts[place] for place, count in hits.items()}
        best = max(fractions, key=lambda place: fractions[place], default=None)
        return self._texts[best] if best is not None and fractions[best] >= _CONTAINED else None

    def _add(self, name: str, text: str) -> None:
        text_words = words(text)
        if len(text_words) < _FEWEST_WORDS:
            return
        place = len(self._texts)
        self._texts.append(Contamination(name, text))
        runs = run_hashes(text_words, _RUN) if len(text_words) > _RUN else set()
        self._run_counts.append(len(runs))
        if not runs:
            self._whole.setdefault(" ".join(text_words), place)
        for run in runs:
            self._places.setdefault(run, []).append(place)


def _cached_sets() -> list[str]:
    return [STARTER_HELD_OUT, *(name for name in EVALUATION_SETS if _cached_file(name))]


def _cached_file(name: str) -> Path | None:
    found = (find(ASSETS[asset]) for asset in _SETS[name].assets)
    return next((path for path in found if path is not None), None)


def _texts_of(name: str, offline: bool) -> Iterator[str]:
    if name == STARTER_HELD_OUT:
        for example in load_examples(name):
            yield from (example.prompt or "", example.completion)
        return
    path, field = Path(name), None
    if name in EVALUATION_SETS:
        path = _cached_file(name) or fetch(ASSETS[_SETS[name].assets[0]], offline=offline)
        field = _SETS[name].field
    if not path.exists():
        raise UserError(f"There is no evaluation set {name!r}: name a file, or one of {', '.join(EVALUATION_SETS)}.")
    if path.suffix == ".txt":  # one prompt per line
        try:
            yield from read_bytes(path).decode("utf-8").split("\n")
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 at byte {error.start}. Save the file as UTF-8.") from None
        return
    for record in read_file(path):
        if isinstance(record, BadRow):
            raise UserError(f"{record} (an evaluation set)")
        yield from _strings(record.value if field is None else _value_of(field, record.value))


def _value_of(field: str, row: object) -> object:
    return row.get(field) if isinstance(row, dict) else None


def _strings(value: object) -> Iterator[str]:
    """Every text in a row, since the field names differ between sets."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
