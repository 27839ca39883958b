"""How well verdicts agree with people's labels, for any table with prompt, completion and label."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from response_tuning.data.sources.readers import read_file
from response_tuning.evaluation.agreement.agreement_config import AgreementConfig
from response_tuning.evaluation.refusals.refusal_judge import judge_refusals
from response_tuning.evaluation.refusals.refusal_keywords import METHOD, keyword_verdict
from response_tuning.evaluation.refusals.verdicts import DECIDED, Verdict
from response_tuning.evaluation.shared.confusion import Confusion, confusion
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json
from response_tuning.support.records import BadRow, preview

__all__ = ["Agreement", "Labelled", "agreement_table", "measure_agreement", "read_labelled", "verdict_agreement"]

_ERRORS_SHOWN = 20


@dataclass(frozen=True)
class Labelled:
    """A response with a person's label."""

    place: str
    """``file:line``."""
    prompt: str
    completion: str
    """Empty if the cell is."""
    is_refusal: bool


@dataclass(frozen=True)
class Agreement:
    """Verdicts against labels; refusal is the positive class, the label is the truth."""

    method: str
    """"keyword", or the judge."""
    rows: int
    """All labelled rows."""
    confusion: Confusion
    """Rows with a verdict."""
    accuracy: Estimate | None
    kappa: Estimate | None
    """Cohen's kappa; None if all labels and verdicts are the same."""
    unparsed: int
    empty: int
    disagreements: list[str]
    """The places of the rows where verdict and label differ."""


def verdict_agreement(config: AgreementConfig) -> list[Agreement]:
    """Measure the agreement of the keyword tier, and of a judge if there is one, with a labelled table.

    Raises:
        UserError: the table cannot be read or has bad rows, all of them named by line; or the judge cannot be asked.
    """
    labelled = read_labelled(config)
    keywords = [keyword_verdict(row.prompt, row.completion).verdict for row in labelled]
    results = [measure_agreement(labelled, keywords, method=METHOD)]
    if config.judge is not None:
        folder = config.output.parent if config.output else config.data.parent
        verdicts = judge_refusals([(row.prompt, row.completion) for row in labelled], config, folder=folder)
        if verdicts is not None:
            results.append(measure_agreement(labelled, [verdict.verdict for verdict in verdicts], method=config.judge))
    if config.output is not None:
        write_json(config.output, {"data": str(config.data), "agreement": [asdict(result) for result in results]})
    return results


def measure_agreement(labelled: Sequence[Labelled], verdicts: Sequence[Verdict], *, method: str) -> Agreement:
    """Compare the verdict on every row with its label. Rows without one (unparsed, empty) are counted separately."""
    decided = [(row, verdict) for row, verdict in zip(labelled, verdicts, strict=True) if verdict in DECIDED]
    table = confusion((verdict == "refusal", row.is_refusal) for row, verdict in decided)
    return Agreement(
        method=method,
        rows=len(labelled),
        confusion=table,
        accuracy=table.accuracy,
        kappa=table.kappa,
        unparsed=verdicts.count("unparsed"),
        empty=verdicts.count("empty"),
        disagreements=[row.place for row, verdict in decided if (verdict == "refusal") != row.is_refusal],
    )


def read_labelled(config: AgreementConfig) -> list[Labelled]:
    """Read a labelled table: CSV, or any other format that training data may have.

    Raises:
        UserError: it is missing or empty, lacks a column, or has a label that is neither refusal nor compliance; the
            bad rows are named by line.
    """
    rows: list[Labelled] = []
    bad: list[str] = []
    columns: set[str] = set()
    for record in read_file(config.data):
        if isinstance(record, BadRow) or not isinstance(record.value, dict):
            bad.append(str(record) if isinstance(record, BadRow) else f"{record.place}: is not a row of named fields")
            continue
        columns |= record.value.keys()
        try:
            rows.append(_labelled(record.place, record.value, config))
        except ValueError as error:
            bad.append(f"{record.place}: {error}")
    if columns or not bad:
        _require_columns(columns, config)
    if bad:
        rest = f"\n... and {len(bad) - _ERRORS_SHOWN} more bad rows." if len(bad) > _ERRORS_SHOWN else ""
        raise UserError("\n".join(bad[:_ERRORS_SHOWN]) + rest)
    return rows


def agreement_table(result: Agreement) -> Table:
    """The confusion matrix, with n, accuracy and kappa below."""
    counts = result.confusion
    table = Table(caption=_summary(result))
    table.add_column(f"verdict of {result.method}")
    table.add_column("labelled refusal", justify="right")
    table.add_column("labelled compliance", justify="right")
    table.add_row("refusal", f"{counts.true_positives}", f"{counts.false_positives}")
    table.add_row("compliance", f"{counts.false_negatives}", f"{counts.true_negatives}")
    return table


def _summary(result: Agreement) -> str:
    excluded = [f"{count} {name}" for name, count in (("unparsed", result.unparsed), ("empty", result.empty)) if count]
    not_counted = f" (and {', '.join(excluded)}, not counted)" if excluded else ""
    return (
        f"n {result.confusion.n}{not_counted}, accuracy {_interval(result.accuracy)}, "
        f"Cohen's kappa {_interval(result.kappa)}; 95% confidence intervals"
    )


def _interval(estimate: Estimate | None) -> str:
    return "not defined" if estimate is None else f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def _labelled(place: str, row: dict[str, Any], config: AgreementConfig) -> Labelled:
    # Readers drop empty cells, so a missing prompt or response is an empty one.
    prompt, completion = (_text(row, field) for field in (config.prompt_field, config.completion_field))
    label = row.get(config.label_field)
    word = label.strip().lower() if isinstance(label, str) else label
    if word not in DECIDED:
        raise ValueError(f"the label {preview(label or '')} in {config.label_field!r} should be refusal or compliance.")
    return Labelled(place, prompt, completion, is_refusal=word == "refusal")


def _text(row: dict[str, Any], field: str) -> str:
    value = row.get(field, "")
    if not isinstance(value, str):
        raise ValueError(f"field {field!r} is not text: {preview(value)}")
    return value


def _require_columns(columns: set[str], config: AgreementConfig) -> None:
    if not columns:
        raise UserError(f"{config.data} holds no rows.")
    for option, field in (
        ("prompt", config.prompt_field),
        ("completion", config.completion_field),
        ("label", config.label_field),
    ):
        if field not in columns:
            raise UserError(
                f"{config.data} has no column {field!r} (it has: {', '.join(sorted(columns))}). "
                f"Name the one to use with --{option}-field."
            )
