"""The prompts that models should refuse, and XSTest's safe ones that only look like them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from response_tuning.data.sources.readers import read_file
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow

__all__ = ["UNSAFE_PROMPT_SETS", "UnsafePrompt", "load_unsafe_prompts"]


@dataclass(frozen=True, kw_only=True)
class UnsafePrompt:
    """A prompt of a refusal benchmark."""

    benchmark: str
    """advbench, harmbench-standard, harmbench-contextual, malicious-instruct or xstest."""
    identifier: str
    """The benchmark's own, if it has any; otherwise the number of the row, from 1."""
    prompt: str
    category: str
    """HarmBench's semantic category, XSTest's type; the benchmark's name for those without categories."""
    is_unsafe: bool
    """Whether a model should refuse. Only XSTest has safe prompts."""


@dataclass(frozen=True)
class _PromptSet:
    asset: str
    """The name of its file in ``ASSETS``."""
    size: int
    """The number of prompts."""
    read: Callable[[Path], Iterator[UnsafePrompt]]


def load_unsafe_prompts(name: str, *, offline: bool = False) -> list[UnsafePrompt]:
    """The prompts of a benchmark in their published order.

    Args:
        name: one of ``UNSAFE_PROMPT_SETS``.
        offline: download nothing; the file has to be in the cache or the mirror.

    Raises:
        UserError: there is no such benchmark, or its file is not available or is not the published one.
    """
    if name not in UNSAFE_PROMPT_SETS:
        raise UserError(f"There are no unsafe prompts {name!r}; there are {', '.join(UNSAFE_PROMPT_SETS)}.")
    prompt_set = UNSAFE_PROMPT_SETS[name]
    path = fetch(ASSETS[prompt_set.asset], offline=offline)
    prompts = list(prompt_set.read(path))
    if len(prompts) != prompt_set.size:
        raise UserError(
            f"{path} has {len(prompts)} prompts of {name}, but {prompt_set.size} were published. Delete it."
        )
    return prompts


def _read_advbench(path: Path) -> Iterator[UnsafePrompt]:
    for number, row in _rows(path, ("goal",)):
        yield _uncategorised("advbench", number, row["goal"])


def _read_malicious_instruct(path: Path) -> Iterator[UnsafePrompt]:
    lines = (line.strip() for line in path.read_text(encoding="utf-8").split("\n"))
    for number, line in enumerate(filter(None, lines), start=1):
        yield _uncategorised("malicious-instruct", number, line)


def _uncategorised(benchmark: str, number: int, prompt: str) -> UnsafePrompt:
    return UnsafePrompt(benchmark=benchmark, identifier=str(number), prompt=prompt, category=benchmark, is_unsafe=True)


def _read_harmbench_standard(path: Path) -> Iterator[UnsafePrompt]:
    return _read_harmbench(path, "standard")


def _read_harmbench_contextual(path: Path) -> Iterator[UnsafePrompt]:
    return _read_harmbench(path, "contextual")


def _read_harmbench(path: Path, kind: str) -> Iterator[UnsafePrompt]:
    """One of HarmBench's functional categories. The third, copyright, is not about refusal."""
    for _, row in _rows(path, ("Behavior", "FunctionalCategory", "SemanticCategory", "BehaviorID")):
        if row["FunctionalCategory"] != kind:
            continue
        context = row.get("ContextString")
        yield UnsafePrompt(
            benchmark=f"harmbench-{kind}",
            identifier=row["BehaviorID"],
            # As HarmBench and the paper's code join them.
            prompt=f"{context}\n\n---\n\n{row['Behavior']}" if context else row["Behavior"],
            category=row["SemanticCategory"],
            is_unsafe=True,
        )


def _read_xstest(path: Path) -> Iterator[UnsafePrompt]:
    for _, row in _rows(path, ("id", "prompt", "type", "label")):
        yield UnsafePrompt(
            benchmark="xstest",
            identifier=row["id"],
            prompt=row["prompt"],
            category=row["type"],
            is_unsafe=row["label"] == "unsafe",
        )


def _rows(path: Path, fields: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a table and their numbers from 1.

    Raises:
        UserError: a row cannot be read or lacks one of the fields.
    """
    for number, record in enumerate(read_file(path), start=1):
        if isinstance(record, BadRow):
            raise UserError(str(record))
        missing = [field for field in fields if field not in record.value]
        if missing:
            raise UserError(f"{record.place}: has no {missing[0]!r} (it has: {', '.join(record.value)}).")
        yield number, record.value


UNSAFE_PROMPT_SETS: dict[str, _PromptSet] = {
    "advbench": _PromptSet("advbench", 520, _read_advbench),
    "harmbench-standard": _PromptSet("harmbench", 200, _read_harmbench_standard),
    "harmbench-contextual": _PromptSet("harmbench", 100, _read_harmbench_contextual),
    "malicious-instruct": _PromptSet("malicious-instruct", 100, _read_malicious_instruct),
    "xstest": _PromptSet("xstest", 450, _read_xstest),
}
"""The benchmarks by name, each with its number of prompts."""
