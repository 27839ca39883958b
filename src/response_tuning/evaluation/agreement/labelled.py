"""Responses with labels, from one table or from two that are matched by row."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.data.sources.readers import read_file
from response_tuning.evaluation.agreement.agreement_config import AgreementConfig
from response_tuning.support.errors import UserError
from response_tuning.support.records import BadRow, Record, preview

__all__ = ["SKIP", "Labelled", "label_map", "read_table"]

_ERRORS_SHOWN = 20
_WORDS = {
    "refusal": ({"refusal"}, {"compliance"}),
    "measure": ({"yes", "true", "1", "1.0", "refusal"}, {"no", "false", "0", "0.0", "compliance"}),
}
"""The words for the positive and the negative class, without and with ``--measure``."""
SKIP = "skip"
"""The meaning of a label whose rows are left out."""


@dataclass(frozen=True)
class Labelled:
    """A response with a person's label."""

    place: str
    """``file:line``."""
    prompt: str
    completion: str
    """Empty if the cell is."""
    is_positive: bool
    """The label: refusal, or yes."""
    verdict: bool | None = None
    """The verdict that the table holds; None without ``--measure``, or where the row has no such verdict."""
    model: str = ""
    """Who responded, where that is known."""
    reference: str = ""
    """A good response to the prompt: a column of that name, or 'completion' beside 'response'; empty without one."""


def label_map(given: Sequence[str]) -> dict[str, str]:
    """``LABEL=MEANING`` pairs as a dictionary; labels in lower case.

    Raises:
        UserError: a pair lacks one of its sides.
    """
    meanings: dict[str, str] = {}
    for pair in given:
        label, separator, meaning = pair.rpartition("=")
        if not (separator and label.strip() and meaning.strip()):
            raise UserError(f"--map-label {pair} should be LABEL=MEANING, such as 1_full_compliance=compliance.")
        meanings[label.strip().lower()] = meaning.strip().lower()
    return meanings


def read_table(
    config: AgreementConfig, meanings: Mapping[str, str], only: Mapping[str, str] | None = None
) -> list[Labelled]:
    """Read a labelled table: CSV, or any other format that training data may have.

    Args:
        config: where the table is, and its columns.
        meanings: of labels in other words; a row whose label means ``SKIP`` is left out.
        only: the values that columns must have.

    Raises:
        UserError: it is missing or empty, lacks a column, or has a label that is not one of the two classes; the bad
            rows are named by line.
    """
    records = [record for record in _records(config.data) if _is_among(record, only or {})]
    fields = {name for record in records if isinstance(record, Record) for name in record.value}
    second = None if config.labels is None else _Labels(config)
    config = _with_columns(config, fields)
    rows: list[Labelled] = []
    bad: list[str] = []
    for record in records:
        if isinstance(record, BadRow):
            bad.append(str(record))
            continue
        try:
            label = record.value.get(config.label_field) if second is None else second.of(record.value)
            meaning = _meaning(label, meanings)
            if meaning != SKIP:
                rows.append(_labelled(record, label, meaning, config))
        except ValueError as error:
            bad.append(f"{record.place}: {error}")
    if bad:
        rest = f"\n... and {len(bad) - _ERRORS_SHOWN} more bad rows." if len(bad) > _ERRORS_SHOWN else ""
        raise UserError("\n".join(bad[:_ERRORS_SHOWN]) + rest)
    return rows


def _is_among(record: Record | BadRow, only: Mapping[str, str]) -> bool:
    return isinstance(record, BadRow) or all(record.value.get(name) == value for name, value in only.items())


def _records(path: Path) -> Iterator[Record | BadRow]:
    """The rows of a table; a row that is no object of named fields is a bad one."""
    for record in read_file(path):
        if isinstance(record, Record) and not isinstance(record.value, dict):
            yield BadRow(record.place, record.number, "is not a row of named fields")
        else:
            yield record


class _Labels:
    """The labels of a second table, by the row of the first that they belong to."""

    def __init__(self, config: AgreementConfig) -> None:
        assert config.labels is not None
        self._config = config
        self._of: dict[tuple[str, ...], Any] = {}
        for record in _records(config.labels):
            if isinstance(record, BadRow):
                raise UserError(str(record))
            if config.label_field not in record.value:
                raise UserError(
                    f"{record.place}: has no {config.label_field!r} (it has: {', '.join(record.value)}). "
                    "Name the column with --label-field."
                )
            for key in self._keys(record.value):
                if self._of.setdefault(key, record.value[config.label_field]) != record.value[config.label_field]:
                    raise UserError(f"{record.place}: a row before it is the same and has another label.")

    def of(self, row: Mapping[str, Any]) -> Any:
        """The label of a row; "skip" if the second table has none."""
        return next((self._of[key] for key in self._keys(row) if key in self._of), SKIP)

    def _keys(self, row: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
        if "id" in row:
            yield ("id", str(row["id"]))
        elif self._config.prompt_field in row:
            response = row.get("response", row.get(self._config.completion_field, ""))
            yield ("texts", str(row[self._config.prompt_field]), str(response))


def _meaning(label: Any, meanings: Mapping[str, str]) -> str:
    word = ("" if label is None else str(label)).strip().lower()
    return meanings.get(word, word)


def _is_positive(label: Any, meaning: str, config: AgreementConfig) -> bool:
    positive, negative = _WORDS["refusal" if config.measure is None else "measure"]
    if meaning in positive | negative:
        return meaning in positive
    wanted = "refusal or compliance" if config.measure is None else "yes or no"
    raise ValueError(
        f"the label {preview('' if label is None else label)} in {config.label_field!r} should be {wanted}. "
        "Give its meaning with --map-label."
    )


def _labelled(record: Record, label: Any, meaning: str, config: AgreementConfig) -> Labelled:
    # Readers drop empty cells, so a missing prompt or response is an empty one.
    prompt, completion = (_text(record.value, field) for field in (config.prompt_field, config.completion_field))
    return Labelled(
        record.place,
        prompt,
        completion,
        is_positive=_is_positive(label, meaning, config),
        verdict=None if config.measure is None else _verdict(record.value, config.measure, config),
        model=str(record.value.get("model", "")),
        reference=_reference(record.value, config),
    )


def _reference(row: Mapping[str, Any], config: AgreementConfig) -> str:
    column = "completion" if config.completion_field != "completion" else ""
    given = row.get("reference", row.get(column))
    return given if isinstance(given, str) else ""


def _verdict(row: Mapping[str, Any], measure: str, config: AgreementConfig) -> bool | None:
    """The verdict of a row: in its ``values``, or in a column; None where it has neither."""
    values = row.get("values")
    value = values.get(measure) if isinstance(values, dict) and measure in values else row.get(measure)
    if value is None or value == "":
        return None
    meaning = _meaning(value, label_map(config.map_label))
    positive, negative = _WORDS["measure"]
    if meaning not in positive | negative:
        raise ValueError(f"{measure!r} is {preview(value)}, which is neither yes nor no (1 or 0).")
    return meaning in positive


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field, "")
    if not isinstance(value, str):
        raise ValueError(f"field {field!r} is not text: {preview(value)}")
    return value


def _with_columns(config: AgreementConfig, columns: set[str]) -> AgreementConfig:
    """The options, with the columns that the table has.

    Raises:
        UserError: it has no rows, or lacks a column.
    """
    if not columns and not any(isinstance(record, BadRow) for record in _records(config.data)):
        raise UserError(f"{config.data} holds no rows.")
    # In results of an evaluation, "completion" is the reference and "response" is what the model wrote.
    is_default = config.completion_field == AgreementConfig.model_fields["completion_field"].default
    if is_default and "response" in columns and (config.measure is not None or config.completion_field not in columns):
        config = config.model_copy(update={"completion_field": "response"})
    needed = {"prompt": config.prompt_field, "completion": config.completion_field, "label": config.label_field}
    if config.labels is not None or not columns:
        del needed["label"]
    if config.measure is not None:
        # Verdicts of labels alone need no texts.
        del needed["completion"], needed["prompt"]
    for option, field in needed.items():
        if field not in columns and columns:
            raise UserError(
                f"{config.data} has no column {field!r} (it has: {', '.join(sorted(columns))}). "
                f"Name the one to use with --{option}-field."
            )
    return config
