"""The check of code: its shape by parsing, its function by tests that run only when a user asks for it."""

import ast
import contextlib
import re
import sqlite3
import warnings
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from response_tuning.evaluation.checks.check_contract import STRICT, Reading
from response_tuning.evaluation.checks.run_code import passes_tests
from response_tuning.evaluation.checks.text import Phrases, pattern_of

__all__ = ["Code", "code_blocks"]

_PARSED = ("python", "sql", "regex")


class Code(BaseModel):
    """The response contains code in the language, which defines and uses what it should and passes the tests.

    Python has to parse (trailing prose is cut), SQL has to compile against the tables that ``setup`` creates, a regular
    expression has to compile. Of other languages only the outward form is read.
    """

    model_config = STRICT
    type: Literal["code"]
    language: str = "python"
    defines: str | list[str] | None = None
    """The name of a function or class, several to choose from, or ``*`` for any."""
    arguments: int | None = Field(default=None, ge=0)
    """How many arguments it can be called with."""
    uses: Phrases | None = None
    """What has to occur in the code."""
    parses: bool = True
    """False: code that does not parse counts, too, if it has the outward form."""
    tests: list[str] | None = None
    """Python expressions that have to be true after the code has run. They see its names, ``answer`` (what it defines),
    ``output`` (what it printed), ``rows`` (of a query), ``pattern`` and ``answer(text)`` (of a regular expression)."""
    setup: str = ""
    """Python code, or SQL statements, to run before."""
    stdin: str = ""
    """What the code reads from standard input."""

    @field_validator("language")
    @classmethod
    def _lower(cls, value: str) -> str:
        return value.lower()

    @model_validator(mode="after")
    def _can_be_tested(self) -> "Code":
        if self.tests and self.language not in _PARSED:
            raise ValueError(f"has tests, but {self.language} cannot be run; only {', '.join(_PARSED)} can")
        for test in self.tests or []:
            try:
                compile(test, "test", "eval")
            except SyntaxError as error:
                raise ValueError(f"has a test that is no Python expression ({error.msg}): {test}") from None
        return self

    def holds(self, reading: Reading) -> bool | None:
        """Whether a part of the response is such code; None if tests decide and may not run."""
        shaped = [(code, name) for code in code_blocks(reading.response, self.language) for name in self._named(code)]
        if not shaped:
            return False
        if not self.tests:
            return True
        if not reading.run_code:
            return None
        return any(
            passes_tests(
                code, self.tests, language=self.language, answer=name or None, setup=self.setup, stdin=self.stdin
            )
            for code, name in shaped
        )

    def _named(self, code: str) -> list[str]:
        """What the code defines of that which it should; an empty name where it need not define anything."""
        if any(not pattern_of(phrase).search(code) for phrase in self.uses or []):
            return []
        if self.language == "python":
            return self._python_names(code)
        if self.language == "sql":
            return [""] if _is_sql(code, self.setup) else []
        if self.language == "regex":
            return [""] if _is_regex(code) else []
        return [""] if _looks_like_code(code) else []

    def _python_names(self, code: str) -> list[str]:
        tree = _parse(code)
        if tree is None:
            wanted = [self.defines] if isinstance(self.defines, str) else self.defines or []
            named = not wanted or any(name == "*" or re.search(rf"\b{re.escape(name)}\b", code) for name in wanted)
            return [""] if not self.parses and named and _looks_like_code(code) else []
        if self.defines is None:
            return [""] if any(isinstance(node, _STATEMENTS) for node in ast.walk(tree)) else []
        wanted = [self.defines] if isinstance(self.defines, str) else self.defines
        found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        return [node.name for node in found if ("*" in wanted or node.name in wanted) and self._takes(node)]

    def _takes(self, node: ast.FunctionDef | ast.ClassDef) -> bool:
        if self.arguments is None or isinstance(node, ast.ClassDef):
            return True
        count = len(node.args.posonlyargs) + len(node.args.args)
        return node.args.vararg is not None or count - len(node.args.defaults) <= self.arguments <= count


_STATEMENTS = (
    ast.FunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AugAssign, ast.For, ast.While, ast.With,
    ast.If, ast.Call, ast.Lambda,
)  # fmt: skip
_FENCE = re.compile(r"(?:```[\w+-]*\n?|<(?:pre><)?code[^<>]*>)(.*?)(?:```|</code>|\Z)", re.DOTALL)
_BEGINS = {
    "python": re.compile(
        r"^(?:def |class |import |from \w+ import|for .*:|while .*:|if .*:|with .*:|print\(|@\w|[\w., ]+ = |#)"
    ),
    "sql": re.compile(r"^\W*(?:SELECT|WITH|CREATE|INSERT|UPDATE|DELETE|ALTER)\b", re.I),
}
_SHAPE = re.compile(
    r"[{};]|</?\w+[^>]*>|\b(?:function|def|class|return|var|let|const|import|for|while|if|echo|SELECT)\b.*[(:={]|"
    r"\w+\(.*\)|^\W*\w+ = ",
    re.M,
)


def code_blocks(response: str, language: str) -> Iterator[str]:
    """The parts of a response that may be code: fenced blocks, else what begins like code, else inline code."""
    fenced = [block.strip("\n") for block in _FENCE.findall(response) if block.strip()]
    if fenced:
        yield from fenced
        yield "\n".join(fenced)
        return
    if language == "regex":
        yield from re.findall(r"`([^`\n]+)`", response)
        yield from (line.strip() for line in response.split("\n"))
        yield from (word.strip("\"'.,;") for word in response.split())
        return
    lines = response.replace("\u201c", '"').replace("\u201d", '"').split("\n")
    begins = _BEGINS.get(language, _SHAPE)
    first = next((place for place, line in enumerate(lines) if begins.search(line)), None)
    if first is None:
        yield from re.findall(r"`([^`\n]+)`", response)
        return
    code = lines[first:]
    if language == "sql":
        yield "\n".join(code).partition(";")[0]
    elif language == "python":
        yield _longest_that_parses(code)
    else:
        yield "\n".join(code)


def _longest_that_parses(lines: list[str]) -> str:
    """The lines up to the last one with which they parse; all of them if none do."""
    for end in range(len(lines), 0, -1):
        if _parse("\n".join(lines[:end])) is not None:
            return "\n".join(lines[:end])
    return "\n".join(lines)


def _parse(code: str) -> ast.Module | None:
    with warnings.catch_warnings(), contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        warnings.simplefilter("ignore")
        return ast.parse(code)
    return None


def _is_sql(code: str, setup: str) -> bool:
    if not re.search(
        r"\bSELECT\b.*\bFROM\b|\bCREATE TABLE\b|\bINSERT INTO\b|\bUPDATE\b.*\bSET\b|\bDELETE FROM\b", code, re.I | re.S
    ):
        return False
    if not setup:
        return True
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        try:
            # The tables are the row's own; the model's query is compiled and not run.
            database.executescript(setup)
            database.execute(f"EXPLAIN {code.strip().rstrip(';')}")
        except sqlite3.Error:
            return False
    return True


def _is_regex(code: str) -> bool:
    if len(code) < 4 or not re.search(r"\[[^\]]+\]|\\[dwsb]|\{\d|\^.+\$", code) or " " in code.strip():
        return False
    try:
        re.compile(code)
    except (re.error, RecursionError, OverflowError):
        return False
    return True


def _looks_like_code(code: str) -> bool:
    return _SHAPE.search(code) is not None
