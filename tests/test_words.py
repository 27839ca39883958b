"""The documents, messages, docstrings and comments use the standard terms of the field."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")} - {ROOT / "docs" / "map.md"}
)  # the map quotes docstrings
TEMPLATES = sorted((ROOT / "src").rglob("*.jinja"))
MODULES = sorted((ROOT / "src").rglob("*.py")) + sorted((ROOT / "benchmarks").rglob("*.py"))

STANDARD_TERMS = {
    # resuming and determinism
    r"(go|goes|going|went) on (with|after|from|where)": "resume",
    r"(carry|carries|carried) on": "resume, continue",
    r"the same bits": "bitwise identical",
    r"bit for bit": "bitwise identical",
    r"to the last digit": "exactly",
    # computing
    r"(matrix|plain)[- ]products?": "matrix multiplication, matmul",
    r"type of (the )?products": "dtype",
    r"(?<!two )moments": "optimizer state",
    r"(spread|spreads|spreading) over": "shard (over ranks), divide",
    r"gives? (its|their) parts?": "gather, all-gather",
    r"(lay|lays|laid|laying) \w* ?out": "collate, batch, format",
    r"(fill|fills|filled|filling) up": "pad",
    r"of like length": "of similar length",
    r"(no|has|have|is|there is) room( for)?": "fits; buffer",
    # proportions and chance
    r"(the|a|as) shares? of": "fraction, proportion, rate; shard, partition",
    r"(which|what) share": "fraction, proportion, rate",
    r"by lot": "at random",
    r"next to nothing": "almost no",
    # verbs
    r"settled?|settles": "decide, resolve",
    r"see that (it|its|the|a|an|no|what|every|all|both)": "validate, require, ensure",
    r"what (came|comes) out": "result, output",
    r"(come|comes|came) out (as|of it)": "is, result",
    r"(stand|stands|stood) in (for|the|a|it|its|main|front)": "replace; be in",
    r"(stand|stands|stood) (before|behind|beside|between|above|below)": "precede, follow, be next to",
    r"is the user's to mend|(can|could|let \w+) mend": "fix",
    r"(strike|strikes|struck) out": "redact",
    # manner
    r"anew": "again, new",
    r"of no account": "irrelevant",
    r"so many": "N, a number of",
    r"for whom": "if you",
    r"dearer": "more expensive",
    r"the state before": "baseline",
    r"to the result of one": "with the same result as one",
}
"""What not to write (regular expressions), and what a reader would search for instead."""


@pytest.mark.parametrize("phrase", STANDARD_TERMS)
def test_standard_terms_are_used(phrase: str) -> None:
    pattern = re.compile(rf"\b({phrase})\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r} in {_around(text, match)!r}"
        for path, line, text in _all_texts()
        for match in pattern.finditer(text)
    ]
    assert not found, f"write {STANDARD_TERMS[phrase]!r}:\n" + "\n".join(found)


def test_phrases_are_found_across_lines_in_every_kind_of_text() -> None:
    source = '"""The same\nbits."""\n# drawn by\n# lot\nprint(f"{1} goes on " "with")\n'
    assert [text for _, text in _module_texts(source)] == ["The same bits.", " goes on with", "drawn by lot"]


@cache
def _all_texts() -> list[tuple[Path, int, str]]:
    return list(_texts())


def _texts() -> Iterator[tuple[Path, int, str]]:
    """Every text that a person reads: its file, its first line, and its words with single spaces."""
    for path in [*PAGES, *TEMPLATES]:
        for number, paragraph in _paragraphs(path.read_text(encoding="utf-8")):
            yield path, number, paragraph
    for path in MODULES:
        for number, text in _module_texts(path.read_text(encoding="utf-8")):
            yield path, number, text


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    lines = enumerate(text.splitlines(), start=1)
    for is_text, group in groupby(lines, key=lambda numbered: bool(numbered[1].strip())):
        if is_text:
            numbers, paragraph = zip(*group, strict=True)
            yield numbers[0], _single_spaced(" ".join(paragraph))


def _module_texts(source: str) -> Iterator[tuple[int, str]]:
    """The string literals of a module, and its comments, where successive lines are one comment."""
    tree = ast.parse(source)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value for part in node.values if isinstance(part, ast.Constant))
            yield node.lineno, _single_spaced("".join(str(part) for part in parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, _single_spaced(node.value)
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    for _, group in groupby(enumerate(comments), key=lambda numbered: numbered[1] - numbered[0]):
        numbers = [number for _, number in group]
        yield numbers[0], _single_spaced(" ".join(comments[number] for number in numbers))


def _single_spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _around(text: str, match: re.Match[str]) -> str:
    return text[max(match.start() - 30, 0) : match.end() + 30]
