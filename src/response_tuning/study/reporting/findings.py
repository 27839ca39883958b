"""What a study found, in sentences; every number and comparison in them is computed."""

from collections.abc import Sequence

from response_tuning.study.planning.plan import StudyPlan
from response_tuning.study.reporting.contrasts import Contrast

__all__ = ["coverage_line", "findings"]

_SENTENCES = 8


def findings(contrasts: Sequence[Contrast]) -> list[str]:
    """The tested differences: how many there are, and the first ones in full."""
    tested = [one for one in contrasts if one.adjusted_p is not None]
    if not tested:
        return ["Nothing can be compared yet."]
    differing = sum(one.differs for one in tested)
    count = f"{len(tested)} difference{'s' if len(tested) > 1 else ''}"
    differ = "differs" if differing == 1 else "differ"
    first = f"Of {count} tested, {differing} {differ} from zero at the 5% level after Holm's correction."
    # RT against IT is what most studies are about.
    ordered = sorted(tested, key=lambda one: one.arm.axes.get("method") != "rt")
    return [first, *(_sentence(one) for one in ordered[:_SENTENCES])]


def _sentence(one: Contrast) -> str:
    estimate = one.estimate
    of_seeds = f" and {one.seeds} seeds" if one.seeds > 1 else ", one seed" if one.seeds else ""
    said = (
        f"{one.evaluation}, {one.metric}: {one.arm.name} minus {one.baseline.name} is {estimate.value:+.3f} "
        f"({estimate.low:+.3f} to {estimate.high:+.3f}; {estimate.n} prompts{of_seeds})"
    )
    if one.differs:
        return f"{said}."
    if one.detectable >= one.largest:
        return f"{said}: no difference is shown, and this number of prompts and seeds could show none."
    return f"{said}: no difference is shown. This study shows one of {one.detectable:.3f} or more in 80% of cases."


def coverage_line(plan: StudyPlan, measured: int) -> str:
    """How much of the study is in the report."""
    expected = sum(len(cell.evaluations) for cell in plan.cells)
    if measured == expected:
        return f"{len(plan.cells)} cells, {expected} evaluations."
    return f"Unfinished: {measured} of {expected} evaluations of {len(plan.cells)} cells are in this report."
