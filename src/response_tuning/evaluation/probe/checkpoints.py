"""The probe over a training: one point per checkpoint that was kept, and one for the end."""

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from response_tuning.evaluation.evaluation_config import ProbeConfig
from response_tuning.evaluation.probe.checkpoint_plot import draw_checkpoints
from response_tuning.evaluation.probe.probe import probe
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines, write_json
from response_tuning.support.progress import say

__all__ = ["CheckpointProbe", "probe_checkpoints"]


@dataclass(frozen=True)
class CheckpointProbe:
    """What was measured after so many optimizer steps."""

    step: int
    model: str
    """The checkpoint's folder; of the end of training, the run's."""
    metrics: dict[str, Estimate]


def probe_checkpoints(config: ProbeConfig) -> list[CheckpointProbe]:
    """Probe every checkpoint of a run, by step, and save ``checkpoints.json`` and a chart, ``checkpoints.png``.

    Each probe is saved like any other, in ``checkpoints/step-N`` beside them, and is not done twice. The chart needs
    the extra ``plot`` and is left out without it.

    Raises:
        UserError: the model is no run, or a run that kept no checkpoints; or as ``probe``.
    """
    run = RunDirectory(Path(config.model))
    specs = _specs(run)
    folder = results_folder(config.model, "probe", config.output)
    points = []
    for step, spec in specs.items():
        is_end = spec == run.path
        output = folder if is_end else folder / "checkpoints" / spec.name
        say(f"\n[step {step}{', the end' if is_end else ''}]")
        # The end is the run itself: the same probe that is made of it without --checkpoints.
        model = config.model if is_end else str(spec)
        result = probe(config.model_copy(update={"model": model, "output": output}))
        points.append(CheckpointProbe(step, model, result.metrics))
    write_json(folder / "checkpoints.json", {"checkpoints": [asdict(point) for point in points]})
    if find_spec("matplotlib") is None:
        say("No chart is drawn: that needs one more package, pip install 'response-tuning[plot]'.")
    else:
        path = folder / "checkpoints.png"
        draw_checkpoints({point.step: point.metrics for point in points}, path, title=str(run.path))
        say(f"The chart: {path}")
    return points


def _specs(run: RunDirectory) -> dict[int, Path]:
    """What to load, by step: the checkpoints, and the run itself for its end."""
    if not run.config.exists():
        raise UserError(f"{run.path} is no run, and only a run has checkpoints.")
    specs = run.kept_checkpoints
    if not specs:
        raise UserError(
            f"{run.path} kept no checkpoints: there is no {run.path / 'checkpoints' / 'step-N'} with an adapter in it."
        )
    if run.is_trained:
        # A checkpoint of the last step holds what the run ended with.
        specs[_last_step(run)] = run.path
    return dict(sorted(specs.items()))


def _last_step(run: RunDirectory) -> int:
    return int(read_json_lines(run.training_log)[-1]["step"])
