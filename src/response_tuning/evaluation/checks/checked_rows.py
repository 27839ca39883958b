"""The checks of a data set's rows, with errors that name file, line and field."""

from dataclasses import dataclass

from response_tuning.data.sources.load_examples import read_rows
from response_tuning.evaluation.checks.row_checks import RowChecks, read_checks
from response_tuning.example import Example, Row, only_good
from response_tuning.support.records import BadRow

__all__ = ["CheckedExamples", "checks_problem", "load_checked_examples"]


@dataclass(frozen=True)
class CheckedExamples:
    """Examples, and the checks of those that have some."""

    examples: list[Example]
    checks: list[RowChecks | None]
    """In the order of the examples; None for a row without the field ``checks``."""

    def first(self, count: int | None) -> "CheckedExamples":
        """The first ``count`` of them; all for None."""
        return CheckedExamples(self.examples[:count], self.checks[:count])

    @property
    def prompts(self) -> list[str]:
        """The prompt of each, empty where there is none."""
        return [example.prompt or "" for example in self.examples]


def load_checked_examples(spec: str) -> CheckedExamples:
    """The examples that a data spec names (``data.sources.read_rows``), with their checks.

    Raises:
        UserError: no source accepts it, or it has bad rows or bad checks; the message lists them by file, line and
            field.
    """
    rows: list[Row | BadRow] = []
    checks: list[RowChecks | None] = []
    for row in read_rows(spec):
        try:
            checks.append(_checks_of(row.example) if isinstance(row, Row) else None)
            rows.append(row)
        except ValueError as error:
            rows.append(BadRow(row.place, row.number, str(error)))
    return CheckedExamples(only_good(rows, source=spec), checks)


def checks_problem(example: Example) -> str | None:
    """What is wrong with the checks of an example; None if nothing is, or if it has none."""
    try:
        _checks_of(example)
    except ValueError as error:
        return str(error)
    return None


def _checks_of(example: Example) -> RowChecks | None:
    """The checks of an example, and a ValueError where they are invalid."""
    return None if example.checks is None else read_checks(example.checks)
