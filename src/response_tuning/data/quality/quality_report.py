"""A quality report in the terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from response_tuning.data.quality.findings import Finding, QualityReport, Summary
from response_tuning.data.quality.token_lengths import ShownToken

__all__ = ["print_report"]

_ROWS_SHOWN = 5
_LANGUAGES_SHOWN = 6
_TOKENS_SHOWN = 400


def print_report(report: QualityReport, console: Console) -> None:
    """Print every unreadable row, a few findings of each other kind, lengths, and one example as tokens."""
    console.print(Text(f"{report.source}: {report.rows:,} rows, {report.good_rows:,} good"), style="bold")
    for finding in report.defects:
        if finding.kind == "unreadable":
            console.print(Text(f"  {finding.place}: {finding.reason}"), soft_wrap=True)
    for title, findings in (("defects", report.defects), ("warnings", report.warnings), ("notes", report.notes)):
        _print_findings(title, findings, console)
    console.print(f"compared with: {', '.join(report.evaluation_sets)}", markup=False)
    _print_languages(report, console)
    console.print(_lengths_table(report))
    _print_tokens(report, console)
    if report.rows_kept is not None:
        console.print(f"{report.rows_kept:,} rows kept in the cleaned file, {report.rows - report.rows_kept:,} removed")


def _print_findings(title: str, findings: Sequence[Finding], console: Console) -> None:
    for kind, count in Counter(finding.kind for finding in findings).most_common():
        console.print(f"{title}: {count:,} {kind}", markup=False)
        if kind != "unreadable":  # printed above
            of_kind = [finding for finding in findings if finding.kind == kind]
            for finding in of_kind[:_ROWS_SHOWN]:
                console.print(Text(f"  {finding.place}: {finding.reason}"), soft_wrap=True)
            if count > _ROWS_SHOWN:
                console.print(f"  ... and {count - _ROWS_SHOWN:,} more (--report FILE lists all)")


def _print_languages(report: QualityReport, console: Console) -> None:
    total = sum(report.languages.values())
    if total:
        commonest = list(report.languages.items())[:_LANGUAGES_SHOWN]
        percentages = ", ".join(f"{language} {100 * count / total:.1f}%" for language, count in commonest)
        console.print(f"languages of the responses: {percentages}", markup=False)


def _lengths_table(report: QualityReport) -> Table:
    table = Table("length", "smallest", "median", "mean", "95% below", "largest")
    for column in table.columns[1:]:
        column.justify = "right"
    rows: list[tuple[str, Summary | None]] = [
        ("response, characters", report.response_characters),
        ("response, words", report.response_words),
        ("example, tokens", report.tokens),
    ]
    for name, summary in rows:
        if summary:
            values = (summary.smallest, summary.median, summary.mean, summary.percentile_95, summary.largest)
            table.add_row(name, *(f"{value:,.0f}" for value in values))
    return table


def _print_tokens(report: QualityReport, console: Console) -> None:
    counted = report.token_lengths
    if counted is None:
        console.print(f"tokens were not counted: {report.tokens_not_counted}", markup=False)
        return
    console.print(
        f"{counted.supervised_tokens_per_epoch:,} supervised tokens per epoch "
        f"({counted.method}, {counted.model}, {counted.format}). With --max-length {counted.max_length:,}, "
        f"{len(counted.truncated):,} rows are truncated and {len(counted.without_room):,} have a prompt that leaves no "
        f"tokens for a response. {len(counted.without_prompt):,} rows lack a prompt that they need.",
        markup=False,
    )
    if report.shown:
        console.print(Text(f"{report.shown_place} as tokens; the coloured ones are supervised:"))
        console.print(_coloured(report.shown))


def _coloured(tokens: Sequence[ShownToken]) -> Text:
    text = Text()
    for place, token in enumerate(tokens[:_TOKENS_SHOWN]):
        # Two alternating shades show where a token ends.
        style = ("black on green", "black on bright_green")[place % 2] if token.supervised else "dim"
        # A newline is shown as a symbol and also breaks the line.
        text.append(token.text.replace("\n", "\u21b5\n"), style=style)
    if len(tokens) > _TOKENS_SHOWN:
        text.append(f" ... and {len(tokens) - _TOKENS_SHOWN:,} more tokens", style="italic")
    return text
