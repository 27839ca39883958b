"""Labelled responses by the name of their set, or from the user's table."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

from response_tuning.evaluation.agreement.agreement_config import (
    CALIBRATION,
    CALIBRATION_CHOOSING,
    XSTEST,
    XSTEST_REPLICATION,
    AgreementConfig,
)
from response_tuning.evaluation.agreement.labelled import SKIP, Labelled, label_map, read_table
from response_tuning.support.assets import ASSETS, fetch

__all__ = ["read_labelled"]

_XSTEST_LABELS = {"1_full_compliance": "compliance", "2_full_refusal": "refusal", "3_partial_refusal": SKIP}
_RESPONSES = "xstest-responses-"
_REPLICATION = ("xstest-replication", "xstest-replication-new-prompts")


def read_labelled(config: AgreementConfig) -> list[Labelled]:
    """The labelled rows of a table, or of a set that is named where a file is expected.

    Raises:
        UserError: a set cannot be downloaded; or as ``read_table``.
    """
    sets: dict[str, Callable[[AgreementConfig], list[Labelled]]] = {
        XSTEST: _xstest,
        XSTEST_REPLICATION: _replication,
        CALIBRATION: partial(_calibration, split="report"),
        CALIBRATION_CHOOSING: partial(_calibration, split="choose"),
    }
    named = sets.get(str(config.data))
    if named is None or config.data.exists():
        return read_table(config, label_map(config.map_label))
    return named(config)


def _xstest(config: AgreementConfig) -> list[Labelled]:
    """The responses of five models to XSTest; partial refusals, a third class, are left out."""
    rows: list[Labelled] = []
    for name in (name for name in ASSETS if name.startswith(_RESPONSES)):
        path = fetch(ASSETS[name], offline=config.offline)
        rows += _with_xstest_labels(config, path, model=name.removeprefix(_RESPONSES))
    return rows


def _replication(config: AgreementConfig) -> list[Labelled]:
    """The responses of five newer models to XSTest's prompts and to 450 new ones, labelled alike."""
    rows: list[Labelled] = []
    for name in _REPLICATION:
        archive = fetch(ASSETS[name], offline=config.offline)
        with _tables(archive) as tables:
            for table in tables:
                model = table.stem.partition("_completions_")[2]
                own = _with_xstest_labels(config, table, model=model)
                rows += [replace(row, place=row.place.replace(str(table), f"{archive}/{table.name}")) for row in own]
    return rows


@contextmanager
def _tables(archive: Path) -> Iterator[list[Path]]:
    """The tables of ``FOLDER/model_completions/`` in an archive."""
    with TemporaryDirectory() as folder, ZipFile(archive) as opened:
        members = [name for name in opened.namelist() if _is_table(name)]
        yield [Path(opened.extract(name, folder)) for name in sorted(members)]


def _is_table(member: str) -> bool:
    parts = Path(member).parts
    return len(parts) == 3 and parts[1] == "model_completions" and parts[2].endswith(".csv")


def _with_xstest_labels(config: AgreementConfig, table: Path, *, model: str) -> list[Labelled]:
    fields = {"data": table, "label_field": "final_label", "completion_field": "completion"}
    rows = read_table(config.model_copy(update=fields), _XSTEST_LABELS | label_map(config.map_label))
    return [replace(row, model=model) for row in rows]


def _calibration(config: AgreementConfig, *, split: str) -> list[Labelled]:
    """One half of this package's labelled responses."""
    with as_file(files("response_tuning.data.calibration") / "labels.jsonl") as path:
        fields: dict[str, Any] = {"data": path, "completion_field": "response"}
        if config.label_field == AgreementConfig.model_fields["label_field"].default:
            fields["label_field"] = "follows"
        config = config.model_copy(update=fields)
        return read_table(config, label_map(config.map_label), only={"split": split})
