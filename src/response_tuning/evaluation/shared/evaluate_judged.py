"""The course of an evaluation that judges may decide: answer, forecast, judge, measure and save.

Where a judge is forecast and asked is written here alone; what it is shown, how its verdict is read and what follows
from it are functions of each evaluation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from response_tuning.asking.ask_options import AskOptions
from response_tuning.evaluation.shared.answering import Answered, respond
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions, JudgeOptions
from response_tuning.evaluation.shared.judge import Case, Judgement, forecast_judging, judge_cases
from response_tuning.evaluation.shared.results import Measured, results_folder, save_evaluation
from response_tuning.support.files import read_json
from response_tuning.support.progress import say, warn

__all__ = ["Cases", "Judged", "Judgements", "Judging", "Role", "evaluate_judged", "judge_all"]

Cases = Mapping[int, Case]
"""Cases by a number that the evaluation understands, such as the position of the response."""
Judgements = Mapping[int, Judgement]
"""A judgement for each case, by the same numbers."""
Judged = Mapping[str, Judgements]
"""By the name of the role; only roles that a judge has."""

Result = TypeVar("Result", bound=Measured)


class Answering(Protocol):
    """Makes the responses to instructions, as ``answering.respond`` does; None after a dry run."""

    def __call__(
        self, config: JudgedOptions, instructions: Sequence[str], /, *, folder: Path, judges: Sequence[AskOptions] = ()
    ) -> Answered | None: ...


@dataclass(frozen=True)
class Role:
    """What an evaluation has judged. Most have one role, which needs no name."""

    options: JudgeOptions
    """Who judges; nobody where its ``judge`` is None."""
    cases: Callable[[Answered], Cases]
    """What the judge is shown, once the responses are there."""
    parse: Callable[[Case, str], Any]
    """Reads a verdict (``judge_cases``)."""
    name: str = ""
    """Also the folder, below the evaluation's, of the judge's answers."""


@dataclass(frozen=True)
class Judging:
    """Cases for one judge."""

    options: JudgeOptions
    cases: Cases
    parse: Callable[[Case, str], Any]
    folder: Path
    """Where the judge's answers are kept."""
    name: str = ""


def evaluate_judged(
    config: JudgedOptions,
    task: str,
    instructions: Sequence[str],
    *,
    roles: Sequence[Role],
    measure: Callable[[Answered, Judged], Result],
    keep: Callable[[Answered], None] = lambda _answered: None,
    judge: str | None = None,
    answer: Answering | None = None,
) -> Result | None:
    """Answer the instructions, have the responses judged, measure and save; None after a dry run.

    What a judge decided on the same model is never replaced by a result without a judge: that is returned, not saved.

    Args:
        config: the options of the evaluation.
        task: its name.
        instructions: what the model is asked.
        roles: what is judged.
        measure: computes the result from the responses and the judgements.
        keep: called with the responses before anything is judged, to save them in a format of the evaluation.
        judge: who decided, as written to ``metrics.json``.
        answer: makes the responses, where the model is shown more than an instruction; ``respond`` otherwise.

    Raises:
        UserError: the model cannot be loaded or asked, a judge cannot be asked, or the results cannot be saved there.
    """
    folder = results_folder(config.model, task, config.output)
    judges = [options for role in roles for options in role.options.judges()]
    answered = (answer or respond)(config, instructions, folder=folder, judges=judges)
    if answered is None:
        return None
    decided_by = None if judge is not None else _judge_of(folder, answered)
    if decided_by is None:
        keep(answered)
    asked = [role for role in roles if role.options.judge is not None]
    judgings = [
        Judging(role.options, role.cases(answered), role.parse, folder / role.name, role.name) for role in asked
    ]
    judgements = judge_all(judgings)
    if judgements is None:
        return None
    result = measure(answered, {role.name: each for role, each in zip(asked, judgements, strict=True)})
    if decided_by is not None:
        warn(
            f"{folder} keeps what {decided_by} decided; this result, without a judge, is not saved. "
            "Choose another --output to save it."
        )
        return result
    save_evaluation(
        folder,
        task,
        config=config,
        answered=answered,
        metrics=result.metrics,
        rows=result.rows,
        judge=judge,
    )
    return result


def _judge_of(folder: Path, answered: Answered) -> str | None:
    """Who decided the saved result on the model that answered now; None if nobody, or for another model."""
    path = folder / "metrics.json"
    saved = read_json(path) if path.is_file() else {}
    made_by = ("backend", "fingerprint")
    is_same = all(saved.get(name) == answered.backend.get(name) for name in made_by)
    return saved.get("judge") if is_same else None


def judge_all(judgings: Sequence[Judging]) -> list[Judgements] | None:
    """Print how much each judge will be asked, then ask; None after a dry run.

    Raises:
        UserError: a judge cannot be asked.
    """
    for judging in judgings:
        forecast = forecast_judging([*judging.cases.values()], judging.options, folder=judging.folder)
        say(f"judging {judging.name}: {forecast}" if judging.name else f"judging: {forecast}")
    if any(judging.options.dry_run for judging in judgings):
        return None
    return [_judge(judging) for judging in judgings]


def _judge(judging: Judging) -> Judgements:
    judgements = judge_cases([*judging.cases.values()], judging.options, judging.parse, folder=judging.folder)
    return dict(zip(judging.cases, judgements, strict=True))
