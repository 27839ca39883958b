"""What a study asks: the fields of a study file.

A study crosses axes (models, data, methods, any training option), repeats each combination with several seeds, and
measures all of them alike::

    question: Are the instructions of my data worth anything?
    axes:
      model: embedded
      data: pairs.jsonl
      method: [base, rt, it]
    seeds: [0, 1, 2]
    training: {epochs: 2}
    evaluations: [probe]
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from response_tuning.data.mix_refusals import KeepRefusals
from response_tuning.data.sources.load_examples import STARTER_REFUSALS

__all__ = ["AXES", "EvaluationChoice", "RefusalOptions", "ReportOptions", "StudyFile", "is_number"]

AXES = {
    "model": "base models: any model spec, with @revision for the hub",
    "data": "training data: any data spec, or a mapping with 'source' or 'recipe' and its options",
    "method": "how a model is made to answer: base, rt, it and others",
    "rows": "how many rows of the data are drawn, or all",
    "format": "the chat format of training and of measuring",
    "prefix": "what precedes the header in rt: none or empty_user",
    "refusals": "how many refusals are added to the data",
    "instructions": "response tuning alone: how many rows keep their instruction; all, shuffled, or shuffled-N",
}
"""The axes that are no training option, with a line for the help."""


def is_number(value: object) -> bool:
    """Whether a value of an axis is a number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _listed(value: Any) -> Any:
    """One value where a list is expected."""
    return value if isinstance(value, list) else [value]


def _axes(value: Any) -> Any:
    return {name: _listed(values) for name, values in value.items()} if isinstance(value, dict) else value


def _choices(value: Any) -> Any:
    """Evaluations as ``[probe, {refusals: {max_examples: 50}}]``, or as one mapping."""
    if isinstance(value, dict):
        return [{"name": name, **(options or {})} for name, options in value.items()]
    chosen: list[Any] = []
    for each in _listed(value):
        if isinstance(each, str):
            chosen.append({"name": each})
        elif isinstance(each, dict) and len(each) == 1 and isinstance(options := next(iter(each.values())), dict):
            chosen.append({"name": next(iter(each)), **options})
        else:
            chosen.append(each)
    return chosen


class EvaluationChoice(BaseModel):
    """One evaluation of every cell. What is no field here is an option of the evaluation."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str
    """As typed after ``rt eval``."""
    label: str = ""
    """Its name in the report. Defaults to ``name``; needed where one evaluation is listed twice."""
    only: dict[str, list[Any]] = Field(default_factory=dict)
    """Measure only cells with these values of these axes."""

    _only_listed = field_validator("only", mode="before")(_axes)

    @property
    def title(self) -> str:
        """The label, or the name."""
        return self.label or self.name

    @property
    def options(self) -> dict[str, Any]:
        """The options of the evaluation, as they are given."""
        return dict(self.model_extra or {})


class RefusalOptions(BaseModel):
    """The refusals that the axis ``refusals`` adds: options of ``rt data mix-refusals``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = STARTER_REFUSALS
    """The source of refusals."""
    keep: KeepRefusals = "auto"
    """Which of its rows count as refusals."""
    look_alikes: bool = False
    """Also add the harmless twin of each starter refusal."""


class ReportOptions(BaseModel):
    """What the report compares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    baseline: dict[str, Any] = Field(default_factory=dict)
    """Values of axes: each arm is compared with the arm that has these and is equal in all else. Defaults to the method
    it, or rt, or whichever there is."""
    metrics: dict[str, list[str]] = Field(default_factory=dict)
    """By evaluation, the metrics that are tested; the others are shown without a test. Defaults to all."""
    examples: int = Field(default=6, ge=0)
    """How many prompts are shown with every arm's response."""


class StudyFile(BaseModel):
    """A study: axes, seeds, evaluations, and what the report compares."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = ""
    """What the study asks: the title of the report."""
    notes: str = ""
    """What a reader of the report should know, such as what the study does not show."""
    axes: Annotated[dict[str, list[Any]], BeforeValidator(_axes)]
    """The values that are crossed, by axis: those of ``AXES``, and any option of ``rt train``."""
    seeds: Annotated[list[int], BeforeValidator(_listed)] = Field(default=[0], min_length=1)
    """Seeds of the trainings. A method without training has none."""
    training: dict[str, Any] = Field(default_factory=dict)
    """Options of ``rt train`` for every training."""
    refusals: RefusalOptions = RefusalOptions()
    """Where the refusals of the axis ``refusals`` are from."""
    evaluations: Annotated[list[EvaluationChoice], BeforeValidator(_choices)] = Field(min_length=1)
    """What is measured on every cell."""
    include: list[Annotated[dict[str, list[Any]], BeforeValidator(_axes)]] = Field(default_factory=list)
    """Further combinations: each entry is crossed by itself, and takes the axes that it does not name from ``axes``."""
    exclude: list[Annotated[dict[str, list[Any]], BeforeValidator(_axes)]] = Field(default_factory=list)
    """Combinations to leave out: those with one of the given values in each of the given axes."""
    report: ReportOptions = ReportOptions()
    """What the report compares."""
    scales: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Fields that replace those above with ``--scale NAME``; mappings are merged."""

    @field_validator("axes")
    @classmethod
    def _require_values(cls, axes: Mapping[str, list[Any]]) -> Mapping[str, list[Any]]:
        for name, values in axes.items():
            if not values:
                raise ValueError(f"the axis {name!r} has no values")
        return axes
