"""The probe over a training run: a point for each kept checkpoint, and one for the end."""

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

from response_tuning.evaluation.probe.checkpoint_plot import draw_checkpoints
from response_tuning.evaluation.probe.probe import probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines, write_json
from response_tuning.support.progress import say

__all__ = ["CheckpointProbe", "probe_checkpoints"]


@dataclass(frozen=True)
class CheckpointProbe:
    """The probe after ``step`` optimizer steps."""

    step: int
    model: str
    """The folder of the checkpoint; for the end of training, that of the run."""
    metrics: dict[str, Estimate]


def probe_checkpoints(config: ProbeConfig) -> list[CheckpointProbe]:
    """Probe every checkpoint of a run, by step, and save ``checkpoints.json`` and a chart, ``checkpoints.png``.

    Each probe is saved as usual, in ``checkpoints/step-N`` beside them, and is not repeated. The chart needs the extra
    ``plot`` and is left out without it.

    Raises:
        UserError: the model is not a run, or is a run without kept checkpoints; or as ``probe``.
    """
    run = RunDirectory(Path(config.model))
    specs = _specs(run)
    folder = results_folder(config.model, "probe", config.output)
    points = []
    for step, spec in specs.items():
        is_end = spec == run.path
        output = folder if is_end else folder / "checkpoints" / spec.name
        say(f"\n[step {step}{', the end' if is_end else ''}]")
        # The end is the run itself, so its probe is the one without --checkpoints.
        model = config.model if is_end else str(spec)
        result = probe(config.model_copy(update={"model": model, "output": output}))
        points.append(CheckpointProbe(step, model, result.metrics))
    write_json(folder / "checkpoints.json", {"checkpoints": [asdict(point) for point in points]})
    if find_spec("matplotlib") is None:
        say("No chart is drawn; it needs one more package: pip install 'response-tuning[plot]'.")
    else:
        path = folder / "checkpoints.png"
        draw_checkpoints({point.step: point.metrics for point in points}, path, title=str(run.path))
        say(f"The chart: {path}")
    return points


def _specs(run: RunDirectory) -> dict[int, Path]:
    """The models to probe, by step: the checkpoints, and the run itself for the end."""
    if not run.config.exists():
        raise UserError(f"{run.path} is not a run, and only runs have checkpoints.")
    specs = run.kept_checkpoints
    if not specs:
        raise UserError(
            f"{run.path} kept no checkpoints: there is no {run.path / 'checkpoints' / 'step-N'} with an adapter in it."
        )
    if run.is_trained:
        # A checkpoint of the last step equals the end of the run.
        specs[_last_step(run)] = run.path
    return dict(sorted(specs.items()))


def _last_step(run: RunDirectory) -> int:
    return int(read_json_lines(run.training_log)[-1]["step"])
