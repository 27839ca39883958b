"""The probe in the registry of evaluations."""

from typing import TYPE_CHECKING

from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.probe.probe_config import ProbeConfig

if TYPE_CHECKING:
    from rich.console import RenderableType

    from response_tuning.evaluation.probe.checkpoints import CheckpointProbe
    from response_tuning.evaluation.probe.probe import FormatComparison, ProbeResult
    from response_tuning.evaluation.token_shift.token_shift import TokenShift

    _Result = ProbeResult | FormatComparison | list[CheckpointProbe] | TokenShift
    """That of a plain probe, of --formats, of --checkpoints, and of --tokens."""

__all__ = ["PROBE"]


def _run(config: ProbeConfig) -> "_Result":
    if config.tokens and config.responses is None:
        from response_tuning.evaluation.token_shift.token_shift import probe_tokens

        return probe_tokens(config)
    from response_tuning.evaluation.probe.checkpoints import probe_checkpoints
    from response_tuning.evaluation.probe.probe import compare_formats, probe, probe_responses

    if config.responses is not None:
        return probe_responses(config)
    if config.formats:
        return compare_formats(config)
    return probe_checkpoints(config) if config.checkpoints else probe(config)


def _table(config: ProbeConfig, result: "_Result") -> "RenderableType":
    from response_tuning.evaluation.probe.probe_table import probe_table
    from response_tuning.evaluation.token_shift.shift_table import shift_table
    from response_tuning.evaluation.token_shift.token_shift import TokenShift

    return shift_table(config.model, result) if isinstance(result, TokenShift) else probe_table(config, result)


PROBE: Evaluation[ProbeConfig, "_Result"] = Evaluation(
    name="probe",
    config=ProbeConfig,
    run=_run,
    table=_table,
    compares_whole_sets=True,
    instead_of_model="responses",
)
