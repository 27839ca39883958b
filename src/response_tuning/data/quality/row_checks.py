"""Checks of a single row, alone or against the rows before it."""

import re
from collections.abc import Iterator, Sequence

from response_tuning.data.quality.check_config import CheckConfig, Defect
from response_tuning.data.quality.contamination import EvaluationTexts
from response_tuning.data.quality.findings import Finding
from response_tuning.data.quality.language import language_of
from response_tuning.data.quality.words import normalised
from response_tuning.example import Row
from response_tuning.support.progress import Bar
from response_tuning.support.records import preview

__all__ = ["RowChecks"]

_TEXT = "text|passage|article|paragraph|sentence|input|table|code|list|data|information|context"
_PROMPT_DEPENDENT = re.compile(
    r"\b(as (you can see|(was |were )?(mentioned|shown|stated|described|noted))( \w+)? (above|earlier|before)"
    r"|(the|this) (above|preceding|aforementioned) \w+"
    rf"|the ({_TEXT}) (above|below|you (provided|gave|shared))"
    rf"|(the|your) (provided|given) ({_TEXT})"
    r"|(in|to|from) your (question|prompt|message|instruction|request))\b",
    re.IGNORECASE,
)


class RowChecks:
    """Checks rows in order, and collects what it finds."""

    def __init__(self, config: CheckConfig, evaluation_texts: EvaluationTexts) -> None:
        self._config = config
        self._evaluation_texts = evaluation_texts
        self._examples_seen: dict[tuple[str | None, str, str], int] = {}
        self._responses_seen: dict[str, int] = {}
        self.defects: dict[int, Finding] = {}
        """By row position; at most one per row."""
        self.warnings: list[Finding] = []
        self.languages: dict[int, str | None] = {}
        """The language of the response of each good row, by row position."""

    def check(self, rows: Sequence[Row], bar: Bar) -> None:
        """Check every row."""
        for position, row in enumerate(rows):
            bar.advance()
            found = self._defect(row, position, rows)
            if found is not None:
                self.defects[position] = _finding(row, *found)
                continue
            self.languages[position] = language_of(row.example.completion)
            self.warnings += (_finding(row, *warning) for warning in self._warnings(row, position, rows))

    def warn_of_other_languages(self, rows: Sequence[Row], main: str) -> None:
        """Warn of each response that is not in the ``main`` language."""
        for position, language in self.languages.items():
            if language not in (None, main):
                reason = f"the response is in {language!r}, most are in {main!r}"
                self.warnings.append(_finding(rows[position], "other-language", reason))

    def _defect(self, row: Row, position: int, rows: Sequence[Row]) -> tuple[Defect, str] | None:
        example = row.example
        for name, text in (("completion", example.completion), ("prompt", example.prompt or "")):
            if "\0" in text:
                return "nul", f"field {name!r} has a NUL character at {text.index(chr(0))}"
        length, limit = len(example.completion), self._config.max_characters
        if length > limit:
            return "too-long", f"the response has {length:,} characters, more than --max-characters {limit:,}"
        prompt = None if example.prompt is None else normalised(example.prompt)
        earlier = [(turn.role, normalised(turn.content)) for turn in example.earlier_turns or ()]
        key = (prompt, normalised(example.completion), repr(earlier))
        before = self._examples_seen.setdefault(key, position)
        if before != position:
            return "duplicate", f"the same as {rows[before].place}"
        contained = self._evaluation_texts.find(example)
        if contained is not None:
            return "contaminated", f"contains a text of {contained.evaluation_set}: {preview(contained.text)}"
        return None

    def _warnings(self, row: Row, position: int, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
        example = row.example
        before = self._responses_seen.setdefault(example.completion, position)
        if before != position:
            yield "repeated-response", f"the same response as {rows[before].place}, to another prompt"
        dependent = _PROMPT_DEPENDENT.search(example.completion)
        if dependent:
            yield "prompt-dependent", f"the response makes sense only with its prompt: {preview(dependent.group())}"
        if example.completion[:1].isspace():
            yield (
                "leading-space",
                "the response begins with white space, which is left out in training",
            )
        if example.prompt is not None and not example.prompt.strip():
            yield "empty-prompt", "the prompt is empty: leave the field out, or fill it for instruction tuning"


def _finding(row: Row, kind: str, reason: str) -> Finding:
    return Finding(kind, row.place, row.number, reason)
