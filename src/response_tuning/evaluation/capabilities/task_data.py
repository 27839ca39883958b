"""Local copies of the core tasks' data, in the format that the evaluation harness's task definitions read.

The harness identifies its data by the name of a hub data set. Each published file is converted to JSONL with the fields
of that data set, and a task file includes the harness's definition and overrides only the location of the rows.
Prompts, choices and metrics are the harness's, and ``lm_eval --include_path FOLDER`` reads the same folder.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from response_tuning.data.sources.readers import read_file
from response_tuning.evaluation.capabilities.capabilities_config import CoreTask
from response_tuning.support.errors import UserError
from response_tuning.support.files import staged_folder, write_json_lines, write_text
from response_tuning.support.records import BadRow, preview

__all__ = ["MMLU_PREFIX", "harness_tasks_folder", "local_data_hash", "write_local_tasks"]

MMLU_PREFIX = "mmlu_"
"""The prefix of the subject in the names of MMLU's tasks."""

Row = dict[str, Any]
_ALL_SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")


@dataclass(frozen=True, kw_only=True)
class _LocalData:
    """The location of a task's rows, and the conversion of a published row."""

    definition: str
    """The harness's task file."""
    files: dict[str, str]
    """Per split, by the harness's name, the pattern of its one file in the data folder."""
    splits: dict[str, str]
    """The splits of the local task; the harness's others are removed."""
    convert: Callable[[Row], Row]
    """A published row to a row of the hub data set."""


def harness_tasks_folder() -> Path:
    """The folder of the harness's own task files."""
    import lm_eval.tasks

    return Path(lm_eval.tasks.__file__).parent


def write_local_tasks(tasks: tuple[CoreTask, ...], data_folder: Path, target: Path) -> list[str]:
    """Write task files for ``tasks`` with the rows in ``data_folder``; returns a line for each deviation.

    ``target`` gets ``NAME.yaml`` and ``NAME.SPLIT.jsonl`` per harness task (one per subject for MMLU) and is written
    atomically.

    Raises:
        UserError: a file is missing or there are two for one split; a row lacks a field. The message lists them all.
    """
    if not data_folder.is_dir():
        raise UserError(f"There is no folder {data_folder}. --data-dir needs one with the folders {_folders(tasks)}.")
    notes: list[str] = []
    with staged_folder(target) as folder:
        for task in tasks:
            local = _LOCAL[task]
            rows = {split: _read(data_folder, pattern, local.convert) for split, pattern in local.files.items()}
            if task == "mmlu":
                notes += _write_subjects(local, rows["test"], folder=folder, target=target)
            else:
                _write_task(task, local, rows, folder=folder, target=target)
    return notes


def local_data_hash(task: CoreTask, data_folder: Path) -> str:
    """Sixteen hexadecimal digits of a hash of a task's files in ``data_folder``."""
    digest = hashlib.sha256()
    for pattern in _LOCAL[task].files.values():
        for path in sorted(data_folder.glob(pattern)):
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def _folders(tasks: tuple[CoreTask, ...]) -> str:
    return ", ".join(sorted({pattern.split("/")[0] for task in tasks for pattern in _LOCAL[task].files.values()}))


def _read(data_folder: Path, pattern: str, convert: Callable[[Row], Row]) -> list[Row]:
    found = sorted(data_folder.glob(pattern))
    if len(found) != 1:
        what = f"there are {', '.join(path.name for path in found)}" if found else "there is none"
        raise UserError(f"--data-dir {data_folder} needs exactly one file {pattern}, and {what}.")
    rows: list[Row] = []
    bad: list[str] = []
    for record in read_file(found[0]):
        if isinstance(record, BadRow):
            bad.append(str(record))
            continue
        try:
            rows.append(convert(record.value))
        except (KeyError, TypeError, ValueError) as error:
            why = f"has no field {error}" if isinstance(error, KeyError) else f"cannot be read ({error})"
            bad.append(f"{record.place}: {why}: {preview(repr(record.value))}")
    if bad or not rows:
        raise UserError("\n".join(bad) if bad else f"{found[0]} has no rows.")
    return rows


def _write_subjects(local: _LocalData, rows: list[Row], *, folder: Path, target: Path) -> list[str]:
    """One task per subject, as in the harness; a subject without rows has no task."""
    by_subject: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_subject[row["subject"]].append(row)
    definitions = harness_tasks_folder() / Path(local.definition).parent
    subjects = {path.stem.removeprefix(MMLU_PREFIX) for path in definitions.glob(f"{MMLU_PREFIX}*.yaml")}
    if unknown := sorted(set(by_subject) - subjects):
        raise UserError(f"The harness's MMLU has no subject {', '.join(unknown)}.")
    for subject, subject_rows in by_subject.items():
        _write_task(
            f"{MMLU_PREFIX}{subject}", local, {"test": subject_rows}, folder=folder, target=target, subject=subject
        )
    _require_every_group(definitions, subjects, set(by_subject))
    if missing := sorted(subjects - set(by_subject)):
        return [f"The local MMLU has no rows of {', '.join(missing)}: {len(by_subject)} subjects are counted."]
    return []


def _require_every_group(definitions: Path, subjects: set[str], present: set[str]) -> None:
    """Require a subject in each of MMLU's four groups: the harness would look for the others on the hub."""
    groups = {
        subject: str(yaml.safe_load((definitions / f"{MMLU_PREFIX}{subject}.yaml").read_text(encoding="utf-8"))["tag"])
        for subject in subjects
    }
    if empty := sorted(set(groups.values()) - {groups[subject] for subject in present}):
        names = ", ".join(name.removeprefix(MMLU_PREFIX).removesuffix("_tasks").replace("_", " ") for name in empty)
        raise UserError(f"The local MMLU has no subject of: {names}. It needs one of each of the four groups.")


def _write_task(
    name: str, local: _LocalData, rows: dict[str, list[Row]], *, folder: Path, target: Path, subject: str = ""
) -> None:
    for split, split_rows in rows.items():
        write_json_lines(folder / f"{name}.{split}.jsonl", split_rows)
    definition: Row = {
        "include": str(harness_tasks_folder() / local.definition.format(subject=subject)),
        "task": name,
        "dataset_path": "json",
        "dataset_name": None,
        # The folder is renamed to its target when it is complete.
        "dataset_kwargs": {"data_files": {split: str(target.resolve() / f"{name}.{split}.jsonl") for split in rows}},
        **{key: local.splits.get(key) for key in _ALL_SPLITS},
    }
    write_text(folder / f"{name}.yaml", yaml.safe_dump(definition, sort_keys=False))


def _text_choices(question: Row) -> Row:
    """AI2's nested choices as the hub's two parallel lists."""
    return {key: [choice[key] for choice in question["choices"]] for key in ("text", "label")}


def _arc(row: Row) -> Row:
    question = row["question"]
    return {"question": question["stem"], "choices": _text_choices(question), "answerKey": row["answerKey"]}


def _openbookqa(row: Row) -> Row:
    question = row["question"]
    return {"question_stem": question["stem"], "choices": _text_choices(question), "answerKey": row["answerKey"]}


def _piqa(row: Row) -> Row:
    return {**{key: row[key] for key in ("goal", "sol1", "sol2")}, "label": int(row["label"])}


def _hellaswag(row: Row) -> Row:
    # Some mirrors have joined the two halves of the context into `ctx`.
    first, second = (row["ctx_a"], row["ctx_b"]) if "ctx_a" in row else (row["ctx"], "")
    return {
        "activity_label": row["activity_label"],
        "ctx_a": first,
        "ctx_b": second,
        "endings": row["endings"],
        "label": str(int(row["label"])),
    }


def _gsm8k(row: Row) -> Row:
    return {"question": row["question"], "answer": row["answer"]}


def _mmlu(row: Row) -> Row:
    answer = row["answer"]
    place = answer if isinstance(answer, int) else "ABCD".index(answer)
    if len(row["choices"]) != 4:
        raise ValueError(f"{len(row['choices'])} choices where MMLU has 4")
    return {"subject": row["subject"], "question": row["question"], "choices": row["choices"], "answer": place}


_LOCAL: dict[CoreTask, _LocalData] = {
    # Zero-shot, so the development rows are not needed.
    "mmlu": _LocalData(
        definition="mmlu/default/mmlu_{subject}.yaml",
        files={"test": "mmlu/mmlu_test*.jsonl"},
        splits={"test_split": "test"},
        convert=_mmlu,
    ),
    "openbookqa": _LocalData(
        definition="openbookqa/openbookqa.yaml",
        files={"test": "openbookqa/test*.jsonl"},
        splits={"test_split": "test"},
        convert=_openbookqa,
    ),
    "hellaswag": _LocalData(
        definition="hellaswag/hellaswag.yaml",
        files={"validation": "hellaswag/hellaswag_val*.jsonl"},
        splits={"validation_split": "validation"},
        convert=_hellaswag,
    ),
    "arc_easy": _LocalData(
        definition="arc/arc_easy.yaml",
        files={"test": "arc/ARC-Easy-Test*.jsonl"},
        splits={"test_split": "test"},
        convert=_arc,
    ),
    "arc_challenge": _LocalData(
        definition="arc/arc_challenge.yaml",
        files={"test": "arc/ARC-Challenge-Test*.jsonl"},
        splits={"test_split": "test"},
        convert=_arc,
    ),
    "piqa": _LocalData(
        definition="piqa/piqa.yaml",
        files={"validation": "piqa/valid*.jsonl"},
        splits={"validation_split": "validation"},
        convert=_piqa,
    ),
    "gsm8k": _LocalData(
        definition="gsm8k/gsm8k.yaml",
        files={"train": "gsm8k/train*.jsonl", "test": "gsm8k/test*.jsonl"},
        splits={"training_split": "train", "fewshot_split": "train", "test_split": "test"},
        convert=_gsm8k,
    ),
    # Its examples are in the definition.
    "gsm8k_cot_llama": _LocalData(
        definition="gsm8k/gsm8k-cot-llama.yaml",
        files={"test": "gsm8k/test*.jsonl"},
        splits={"test_split": "test"},
        convert=_gsm8k,
    ),
}
