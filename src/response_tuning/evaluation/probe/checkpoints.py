"""The probe over a training run: a point for each kept checkpoint, and one for the end."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from response_tuning.evaluation.probe.probe import probe
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.probe.ranking import RANKINGS
from response_tuning.evaluation.probe.readings import CUT
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines, staged_file, write_json
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        _draw(points, path, title=str(run.path))
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


def _draw(points: Sequence[CheckpointProbe], path: Path, *, title: str) -> None:
    """Draw each metric over the steps, in percent with its 95% interval: responses left, rankings right if any."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    ranked = [name for name in points[0].metrics if name in RANKINGS]
    measured = [name for name in points[0].metrics if name not in RANKINGS and not name.endswith(CUT)]
    panels = [(measured, "of responses"), (ranked, "of comparisons, won by the paired response")]
    drawn_panels = [panel for panel in panels if panel[0]]
    figure = Figure(figsize=(2 + 4 * len(drawn_panels), 4), layout="constrained")
    every = figure.subplots(1, len(drawn_panels), sharey=True, squeeze=False)[0]
    for axes, (names, title_of_panel) in zip(every, drawn_panels, strict=True):
        for name in names:
            _draw_metric(axes, {point.step: point.metrics[name] for point in points}, name)
        axes.set_xlabel("optimizer steps")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylim(-2, 102)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8)
        axes.set_title(title_of_panel, fontsize=10)
    every[0].set_ylabel("percent")
    figure.suptitle(title, fontsize=11)
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=150)
    with staged_file(path) as file:
        file.write(drawn.getvalue())


def _draw_metric(axes: "Axes", estimates: Mapping[int, Estimate], name: str) -> None:
    steps = list(estimates)
    values, low, high = (
        [100 * getattr(estimate, bound) for estimate in estimates.values()] for bound in ("value", "low", "high")
    )
    (line,) = axes.plot(steps, values, marker="o", markersize=3, label=name)
    axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
