"""How the trainings went: their losses, and how much the results of seeds differ."""

from collections.abc import Iterator
from pathlib import Path

from response_tuning.evaluation.shared.prompt_values import PromptValues
from response_tuning.study.planning.cells import arm_name
from response_tuning.study.planning.collected import slug
from response_tuning.study.reporting.figures.contract import Drawn, StudyResults
from response_tuning.study.reporting.figures.dots import shown_metrics
from response_tuning.study.reporting.figures.style import label, look_of, new_figure, tidy
from response_tuning.study.reporting.results import Arm
from response_tuning.study.smoothing import smoothed
from response_tuning.support.files import read_json_lines

__all__ = ["seeds", "training_curves"]

_MOST_LINES = 12
_WIDTH, _HEIGHT = 9.0, 3.0


def training_curves(study: StudyResults) -> Iterator[Drawn]:
    """The loss by step, smoothed: a line per arm, the mean of its seeds."""
    losses: dict[str, list[list[float]]] = {}
    arms: dict[str, Arm] = {}
    for cell in study.plan.cells:
        log = study.folder / cell.run / "training.jsonl"
        if cell.run and log.is_file() and (found := _losses(log)):
            name = arm_name(cell.arm, study.plan.varied)
            losses.setdefault(name, []).append(found)
            arms[name] = Arm(name, cell.arm, [])
    if not 0 < len(losses) <= _MOST_LINES:
        return
    figure, (axes,) = new_figure(_WIDTH, _HEIGHT)
    looks = look_of([*arms.values()])
    for name, runs in losses.items():
        steps = min(len(run) for run in runs)
        mean = [sum(run[step] for run in runs) / len(runs) for step in range(steps)]
        axes.plot(
            range(1, steps + 1),
            smoothed(mean),
            color=looks[name].colour,
            linestyle=looks[name].line,
            label=label(name),
        )
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("nats per supervised token")
    tidy(axes, along="y")
    axes.legend(ncols=2)
    yield Drawn("training", "Training loss, smoothed, mean over seeds.", figure)


def _losses(log: Path) -> list[float]:
    return [float(row["loss"]) for row in read_json_lines(log) if "loss" in row]


def seeds(study: StudyResults) -> Iterator[Drawn]:
    """The result of each seed in the first metric of each evaluation: a row per arm, a mark per seed."""
    for of in study.results:
        repeated = [arm for arm in of.arms if len(arm.seeds) > 1]
        metrics = shown_metrics(of, study)[:3]
        if not metrics or not 0 < len(repeated) <= 2 * _MOST_LINES:
            continue
        figure, panels = new_figure(_WIDTH, 0.8 + 0.26 * len(repeated), 1, len(metrics), sharey=True)
        looks = look_of(repeated)
        for axes, metric in zip(panels, metrics, strict=True):
            axes.set_title(metric, loc="left")
            for place, arm in enumerate(repeated):
                spots = [_mean_of(cell.values, metric) for cell in arm.cells]
                found = [spot for spot in spots if spot is not None]
                look = looks[arm.name]
                axes.plot(found, [place] * len(found), look.marker, color=look.colour, markerfacecolor="none")
            axes.set_yticks(range(len(repeated)), [label(arm.name) for arm in repeated])
            axes.set_ylim(len(repeated) - 0.4, -0.6)
            tidy(axes)
        yield Drawn(slug("seeds", of.label), f"{of.label}: the mean of each seed's run.", figure)


def _mean_of(values: PromptValues, metric: str) -> float | None:
    pairs = [of_prompt[metric] for of_prompt in values.values() if metric in of_prompt]
    return sum(part for part, _ in pairs) / sum(whole for _, whole in pairs) if pairs else None
