"""What ``rt compare`` computes: values of several runs, and paired differences to the first."""

from dataclasses import dataclass, field

from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["Comparison", "MetricComparison", "TaskComparison"]


@dataclass(frozen=True)
class MetricComparison:
    """One metric on the prompts for which every run has it."""

    values: dict[str, Estimate]
    """By run."""
    differences: dict[str, Estimate]
    """By run, for all but the first: its value minus that of the first run, paired by prompt."""
    p_values: dict[str, float] = field(default_factory=dict)
    """By run, if asked for: of the paired difference, adjusted by Holm's method for all differences of the evaluation.
    Exact McNemar for proportions, a sign-flip permutation test for other values."""


@dataclass(frozen=True)
class TaskComparison:
    """One evaluation of all runs."""

    prompts: int
    """Prompts that all runs have."""
    left_out: dict[str, int]
    """By run, prompts that another run lacks."""
    formats: dict[str, str]
    """By run, its chat format."""
    metrics: dict[str, MetricComparison]


@dataclass(frozen=True)
class Comparison:
    """Several runs by the names they are shown under; the first is the baseline."""

    runs: dict[str, str]
    """The specs as given, by name."""
    tasks: dict[str, TaskComparison]
    missing: dict[str, list[str]]
    """By evaluation that is not compared, the runs that lack it."""
