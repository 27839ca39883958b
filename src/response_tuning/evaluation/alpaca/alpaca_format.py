"""The file formats of ``alpaca_eval``: a model's outputs, a judge's preferences, and the instructions' difficulties.

The first two are JSON arrays of objects. Unknown fields are kept.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from response_tuning.data.sources.readers import read_file
from response_tuning.support.errors import UserError
from response_tuning.support.files import write_json
from response_tuning.support.input_files import read_bytes
from response_tuning.support.records import BadRow, preview

__all__ = [
    "Anchor",
    "Annotation",
    "ModelOutput",
    "difficulties_by_instruction",
    "read_anchors",
    "read_annotations",
    "read_difficulties",
    "read_model_outputs",
    "write_annotations",
    "write_model_outputs",
]

_ERRORS_SHOWN = 20
_MODEL_OUTPUTS = 'a model_outputs.json: a list of {"instruction": "...", "output": "...", "generator": "..."}'
_ANNOTATIONS = 'an annotations.json: a list of {"instruction": "...", "output_1": "...", ..., "preference": 1.0}'

Entry = TypeVar("Entry", "ModelOutput", "Annotation")


class ModelOutput(BaseModel):
    """A response: an entry of ``model_outputs.json``."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    instruction: str
    output: str
    """The response. It may be empty."""
    generator: str
    """The name of the model; one per file."""
    dataset: str | None = None
    """The part of the evaluation set, such as ``helpful_base``."""


class Annotation(BaseModel):
    """A judge's preference between two responses: an entry of ``annotations.json``."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    instruction: str
    output_1: str
    """The reference's response."""
    generator_1: str
    output_2: str
    """The response of the evaluated model."""
    generator_2: str
    dataset: str | None = None
    annotator: str | None = None
    """The name of the judge."""
    preference: float | None = Field(ge=0, le=2)
    """1: the reference is better; 2: the model is; between: the judge's confidence; None: no verdict.

    1.5 is a draw, and so is 0, as in files of old versions of ``alpaca_eval``.
    """

    @property
    def model_preference(self) -> float | None:
        """The preference for the model, from 0 to 1; None without a verdict."""
        if self.preference is None:
            return None
        return 0.5 if self.preference == 0 else self.preference - 1


@dataclass(frozen=True)
class Anchor:
    """A published verdict on a variant of the reference (concise or verbose): a row of alpaca_eval's ``df_gamed.csv``.

    It helps to fit how much length counts (``length_control``).
    """

    variant: str
    length_difference: float
    """The reference's characters minus the variant's, in standard deviations (``std_delta_len``)."""
    difficulty: float
    preference: float
    """For the variant, from 0 to 1."""


def read_model_outputs(path: Path) -> list[ModelOutput]:
    """Read the outputs of one model from a JSON array, or from JSONL.

    Raises:
        UserError: the file is missing or empty, has bad rows (they are listed), answers an instruction twice, or
            contains several models.
    """
    outputs = _read(path, ModelOutput, _MODEL_OUTPUTS)
    _require_one({output.generator for output in outputs}, path, "generator")
    return outputs


def read_annotations(path: Path) -> list[Annotation]:
    """Read the verdicts on one pair of models from a JSON array, or from JSONL.

    Raises:
        UserError: the file is missing or empty, has bad rows (they are listed), judges an instruction twice, or
            compares several pairs of models.
    """
    annotations = _read(path, Annotation, _ANNOTATIONS)
    _require_one({annotation.generator_1 for annotation in annotations}, path, "generator_1")
    _require_one({annotation.generator_2 for annotation in annotations}, path, "generator_2")
    return annotations


def write_model_outputs(path: Path, outputs: Iterable[ModelOutput]) -> None:
    """Write outputs as ``alpaca_eval`` reads them, atomically. Reading the file returns equal outputs."""
    write_json(path, [output.model_dump(exclude_unset=True) for output in outputs])


def write_annotations(path: Path, annotations: Iterable[Annotation]) -> None:
    """Write verdicts as ``alpaca_eval`` reads them, atomically. Reading the file returns equal verdicts."""
    write_json(path, [annotation.model_dump(exclude_unset=True) for annotation in annotations])


def read_difficulties(path: Path) -> list[float]:
    """Read ``instruction_difficulty.csv``: the instructions' difficulties in AlpacaEval's order, about -3 to 3.

    Raises:
        UserError: the file is missing, or its rows are not consecutive indices from 0, each with a number.
    """
    difficulties: list[float] = []
    for row in csv.DictReader(read_bytes(path).decode("utf-8-sig").splitlines()):
        place = f"{path}:{len(difficulties) + 2}"
        try:
            difficulty = float(row["instruction_difficulty"])
            # The index is the first column, whatever its name: pandas writes it without one.
            index = int(next(iter(row.values())))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{place}: should have an index and a number 'instruction_difficulty'.") from None
        if index != len(difficulties) or not isfinite(difficulty):
            raise UserError(f"{place}: should have index {len(difficulties)}, but is {preview(row)}.")
        difficulties.append(difficulty)
    return difficulties


def read_anchors(path: Path) -> list[Anchor]:
    """Read ``df_gamed.csv``; rows without a preference are left out.

    Raises:
        UserError: the file is missing or empty, or a row lacks a number or is not of a variant of the reference.
    """
    anchors: list[Anchor] = []
    for record in read_file(path):
        if isinstance(record, BadRow):
            raise UserError(str(record))
        try:
            anchor = _anchor(record.value)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UserError(
                f"{record.place}: should have 'model', 'std_delta_len', 'instruction_difficulty', 'preference' from 0 "
                f"to 1, and 'not_gamed_baseline' False, but is {preview(record.value)}."
            ) from None
        if anchor is not None:
            anchors.append(anchor)
    if not anchors:
        raise UserError(f"{path} holds no anchors.")
    return anchors


def _anchor(row: dict[str, Any]) -> Anchor | None:
    """The anchor in a row; None without a preference. Readers leave out empty cells."""
    if str(row["not_gamed_baseline"]).lower() not in ("false", "0", "0.0"):
        raise ValueError("a row of no variant")
    if row.get("preference") in (None, "nan", "NaN"):
        return None
    numbers = [float(row[name]) for name in ("std_delta_len", "instruction_difficulty", "preference")]
    if not all(map(isfinite, numbers)) or not 0 <= numbers[2] <= 1:
        raise ValueError("a number out of its bounds")
    return Anchor(str(row["model"]), *numbers)


def difficulties_by_instruction(
    annotations: Sequence[Annotation], instructions: Sequence[str], difficulties: Sequence[float]
) -> list[float]:
    """The difficulty of each annotation's instruction, in the order of the annotations.

    Args:
        annotations: verdicts on AlpacaEval's instructions, in any order.
        instructions: AlpacaEval's instructions, in its order.
        difficulties: those of ``instructions``, in the same order.

    Raises:
        UserError: the numbers of difficulties and instructions differ, or an annotation is on another instruction.
    """
    if len(instructions) != len(difficulties):
        raise UserError(f"There are {len(difficulties)} difficulties for {len(instructions)} instructions.")
    known = dict(zip(instructions, difficulties, strict=True))
    unknown = [annotation.instruction for annotation in annotations if annotation.instruction not in known]
    if unknown:
        raise UserError(f"{len(unknown)} instructions have no difficulty; the first is {preview(unknown[0])}.")
    return [known[annotation.instruction] for annotation in annotations]


def _read(path: Path, entry_type: type[Entry], wanted: str) -> list[Entry]:
    entries: list[Entry] = []
    bad: list[str] = []
    seen: set[str] = set()
    for record in read_file(path):
        if isinstance(record, BadRow):
            bad.append(str(record))
            continue
        try:
            entry = entry_type.model_validate(record.value)
        except ValidationError as error:
            bad.append(f"{record.place}: {_explain(error)}")
            continue
        if entry.instruction in seen:
            bad.append(f"{record.place}: duplicate instruction: {preview(entry.instruction)}")
        seen.add(entry.instruction)
        entries.append(entry)
    if bad:
        rest = f"... and {len(bad) - _ERRORS_SHOWN} more bad rows.\n" if len(bad) > _ERRORS_SHOWN else ""
        raise UserError("\n".join([*bad[:_ERRORS_SHOWN], f"{rest}It should be {wanted}."]))
    if not entries:
        raise UserError(f"{path} is empty; it should be {wanted}.")
    return entries


def _explain(error: ValidationError) -> str:
    return "; ".join(_explain_one(detail["loc"], detail["msg"], detail["input"]) for detail in error.errors())


def _explain_one(location: Sequence[str | int], message: str, value: Any) -> str:
    field = ".".join(str(part) for part in location)
    return f"field {field!r}: {message}: {preview(value)}" if field else f"{message}: {preview(value)}"


def _require_one(names: set[str], path: Path, field: str) -> None:
    if len(names) > 1:
        raise UserError(f"{path} should have one {field}, but has {len(names)}: {', '.join(sorted(names)[:5])}.")
