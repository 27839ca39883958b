"""``rt data check``: inspect a data set before training on it.

There are three kinds of findings: defects, which a cleaned file leaves out; warnings, which a person should look at;
and notes on the form of a file, which do no harm. Time is linear in the size of the data.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from response_tuning.data.quality.check_config import CheckConfig
from response_tuning.data.quality.clean import check_target, write_cleaned
from response_tuning.data.quality.contamination import EvaluationTexts
from response_tuning.data.quality.findings import Finding, QualityReport, Summary
from response_tuning.data.quality.length_plot import draw_lengths
from response_tuning.data.quality.near_duplicates import near_duplicates
from response_tuning.data.quality.row_checks import RowChecks
from response_tuning.data.quality.token_lengths import (
    control_token_warnings,
    conversation_for,
    measure_tokens,
    show_tokens,
)
from response_tuning.data.sources.load_examples import SourceOptions, read_rows
from response_tuning.example import Example, Row, check_no_input
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json
from response_tuning.support.input_files import BYTE_ORDER_MARK, open_bytes, suffix_of
from response_tuning.support.options import EMBEDDED
from response_tuning.support.plots import check_plot
from response_tuning.support.progress import progress_bar, say
from response_tuning.support.records import BadRow

if TYPE_CHECKING:
    from response_tuning.conversation import Conversation

__all__ = ["check"]

_NO_MODEL = "none"


def check(
    config: CheckConfig, *, validators: Mapping[str, Callable[[Example], str | None]] = MappingProxyType({})
) -> QualityReport:
    """Check a data set, and write the cleaned file, the report and the plot if the configuration names them.

    Args:
        config: what to check, and how.
        validators: by the name of a warning, a function that says what is wrong with an example, or None: for fields
            that others read, such as an evaluation's.

    Raises:
        UserError: the source cannot be read or holds no rows, or an option names a missing file, set or row.
    """
    if config.fix is not None:
        check_target(config.fix, config.source)
    for option, output in (("--plot", config.plot), ("--report", config.report), ("--fix", config.fix)):
        if output is not None:
            check_no_input(output, config.source, *config.against, option=option)
    if config.plot is not None:
        check_plot(config.plot)
    report = QualityReport(config.source)
    conversation = _conversation(config, report)
    evaluation_texts = EvaluationTexts(config.against, offline=config.offline)
    report.evaluation_sets = evaluation_texts.names

    say(f"reading {config.source}")
    every = read_rows(config.source, SourceOptions(offline=config.offline))
    if not every:
        raise UserError(f"{config.source} holds no rows.")
    report.rows = len(every)
    report.notes = list(_notes(Path(config.source)))
    report.defects = [_unreadable(row) for row in every if isinstance(row, BadRow)]
    rows = [row for row in every if isinstance(row, Row)]
    defects = _check_rows(rows, config, evaluation_texts, report)
    _find_near_duplicates(rows, config, defects)
    report.warnings += (
        Finding(kind, row.place, row.number, problem)
        for row in rows
        for kind, validate in validators.items()
        if (problem := validate(row.example)) is not None
    )
    report.defects = sorted([*report.defects, *defects.values()], key=lambda finding: finding.number)
    report.good_rows = len(rows) - len(defects)

    good = [row for position, row in enumerate(rows) if position not in defects]
    _measure(good, report)
    if conversation is not None:
        _count_tokens(good, conversation, config, report)
        report.warnings += (
            Finding("control-token", row.place, row.number, reason)
            for row, reason in control_token_warnings(good, conversation, config.model)
        )
    if config.fix is not None:
        report.rows_kept = write_cleaned(config, config.fix, rows, report, defects)
    if config.plot is not None:
        draw_lengths(good, report, config.plot)
    if config.report is not None:
        write_json(config.report, asdict(report))
    return report


def _conversation(config: CheckConfig, report: QualityReport) -> "Conversation | None":
    if config.model == _NO_MODEL:
        report.tokens_not_counted = "--model none"
        return None
    try:
        return conversation_for(config)
    except UserError as error:
        if config.model != EMBEDDED:
            raise
        # The default model is an optional package. Everything else can be checked without it.
        report.tokens_not_counted = str(error)
        return None


def _unreadable(row: BadRow) -> Finding:
    return Finding("unreadable", row.place, row.number, row.reason)


def _check_rows(
    rows: Sequence[Row], config: CheckConfig, evaluation_texts: EvaluationTexts, report: QualityReport
) -> dict[int, Finding]:
    """Check rows one by one; returns the defects by row position."""
    checks = RowChecks(config, evaluation_texts)
    with progress_bar("checking rows", len(rows)) as bar:
        checks.check(rows, bar)
    languages = Counter(language for language in checks.languages.values() if language)
    if languages:
        checks.warn_of_other_languages(rows, languages.most_common(1)[0][0])
    report.warnings = checks.warnings
    report.languages = dict(languages.most_common())
    if unclear := len(checks.languages) - languages.total():
        report.languages["unclear"] = unclear
    return checks.defects


def _find_near_duplicates(rows: Sequence[Row], config: CheckConfig, defects: dict[int, Finding]) -> None:
    positions = [position for position in range(len(rows)) if position not in defects]
    texts = [_compared_parts(rows[position].example) for position in positions]
    with progress_bar("comparing rows", len(texts)) as bar:
        near = near_duplicates(texts, threshold=config.near, advance=bar.advance)
    for later, earlier in near.items():
        row, original = rows[positions[later]], rows[positions[earlier]]
        reason = f"nearly the same as {original.place}"
        defects[positions[later]] = Finding("near-duplicate", row.place, row.number, reason)


def _compared_parts(example: Example) -> list[str]:
    return [*(turn.content for turn in example.earlier_turns or ()), example.prompt or "", example.completion]


def _notes(path: Path) -> Iterator[Finding]:
    """Harmless irregularities in the form of a JSONL file."""
    if not path.is_file() or suffix_of(path) != ".jsonl":
        return
    line, number = b"\n", 0
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}:{number}"
            if number == 1 and line.startswith(BYTE_ORDER_MARK):
                yield Finding("byte-order-mark", place, number, "starts with a byte order mark")
            if line.endswith(b"\r\n"):
                yield Finding("windows-line-end", place, number, "has a Windows line ending")
            if not line.strip():
                yield Finding("blank-line", place, number, "is blank")
    if not line.endswith(b"\n"):
        yield Finding(
            "no-final-newline", f"{path}:{number}", number, "is the last line and does not end with a newline"
        )


def _measure(good: Sequence[Row], report: QualityReport) -> None:
    if good:
        report.response_characters = summarise([len(row.example.completion) for row in good])
        report.response_words = summarise([len(row.example.completion.split()) for row in good])


def summarise(values: Sequence[int]) -> Summary:
    """Summary statistics of ``values``, which must not be empty."""
    low, median, high, largest = np.percentile(values, [0, 50, 95, 100])
    return Summary(float(low), float(median), round(float(np.mean(values)), 1), float(high), float(largest))


def _count_tokens(
    good: Sequence[Row], conversation: "Conversation", config: CheckConfig, report: QualityReport
) -> None:
    report.token_lengths = measure_tokens(good, conversation, config)
    if report.token_lengths.lengths:
        report.tokens = summarise(report.token_lengths.lengths)
    shown = next((row for row in good if config.show in (None, row.number)), None)
    if shown is None and config.show is not None:
        raise UserError(f"{config.source}: --show {config.show} names no good row.")
    if shown is not None:
        report.shown, report.shown_place = show_tokens(shown, conversation, config), shown.place
