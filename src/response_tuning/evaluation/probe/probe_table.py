"""The result of ``rt probe`` in the terminal."""

from collections.abc import Iterable, Mapping

from rich.console import Group, RenderableType

from response_tuning.evaluation.probe.checkpoints import CheckpointProbe
from response_tuning.evaluation.probe.probe import FormatComparison, ProbeResult
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.probe.readings import CUT
from response_tuning.evaluation.shared.known_agreement import describe_agreement, is_symptom
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.evaluation.shared.table import metrics_table

__all__ = ["agreement_lines", "probe_table"]


def probe_table(config: ProbeConfig, result: ProbeResult | FormatComparison | list[CheckpointProbe]) -> RenderableType:
    """A row for the model, for each chat format (and which one is best), or for each checkpoint."""
    if isinstance(result, FormatComparison):
        best = f"{config.model} answers best under --format {result.best}"
        return Group(metrics_table(result.metrics), best)
    if isinstance(result, ProbeResult):
        return Group(metrics_table(_raw_and_cut(config.model, result.metrics)), agreement_lines(result.metrics))
    return metrics_table({f"step {point.step}": point.metrics for point in result})


def _raw_and_cut(model: str, metrics: Mapping[str, Estimate]) -> dict[str, dict[str, Estimate]]:
    """The metrics of the responses, and those of the responses cut at an invented turn, if there are any."""
    cut = {name.removesuffix(CUT): estimate for name, estimate in metrics.items() if name.endswith(CUT)}
    raw = {name: estimate for name, estimate in metrics.items() if not name.endswith(CUT)}
    return {model: raw} | ({f"{model}, cut at a turn": cut} if cut else {})


def agreement_lines(metrics: Iterable[str]) -> str:
    """How well the measures agree with labels; those that agree too little are named as symptoms."""
    names = list(metrics)
    results = [describe_agreement(name) for name in names if not is_symptom(name) and describe_agreement(name)]
    symptoms = [describe_agreement(name) for name in names if is_symptom(name)]
    lines = [f"Agreement with labels: {'; '.join(results)}."] if results else []
    lines += [f"Symptoms, not results: {'; '.join(symptoms)}."] if symptoms else []
    return "\n".join(lines)
