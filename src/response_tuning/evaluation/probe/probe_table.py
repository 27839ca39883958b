"""The result of ``rt probe`` in the terminal."""

from rich.console import Group, RenderableType

from response_tuning.evaluation.probe.checkpoints import CheckpointProbe
from response_tuning.evaluation.probe.probe import FormatComparison, ProbeResult
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.shared.table import metrics_table

__all__ = ["probe_table"]


def probe_table(config: ProbeConfig, result: ProbeResult | FormatComparison | list[CheckpointProbe]) -> RenderableType:
    """A row for the model, for each chat format (and which one is best), or for each checkpoint."""
    if isinstance(result, FormatComparison):
        best = f"{config.model} answers best under --format {result.best}"
        return Group(metrics_table(result.metrics), best)
    if isinstance(result, ProbeResult):
        return metrics_table({config.model: result.metrics})
    return metrics_table({f"step {point.step}": point.metrics for point in result})
