"""Self-evaluation and abstention: is a model better if it withholds the responses that it is unsure of?

After Ye & Ng 2024 (Self-J, arXiv 2409.00935). Every response gets a confidence:

    likelihood   the mean log-likelihood of its tokens, in nats, under the model that wrote it
    self         the expected rating, from 1 to 5, of the model itself (``self_rating``)
    variation    the mean similarity to other samples of the model (VRO), from -1 to 1
    trained      the expected grade, from 0 to 9, of a judge trained on the model's own answers (``runs.judge``)
    judge        the rating from 1 to 5 of a judge that sees the instruction and the response only

and a quality, 1 or 0, that the confidence should predict: whether it ``responds`` in the probe's sense, or whether a
judge that also sees the reference rates it 4 or 5. ``risk_coverage`` compares the two, and ``correlation`` compares the
confidence with a score: that judge's rating, people's (``--scores``), or the quality where there is neither.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.data.sampling import draw
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.selective.confidences import own_confidences
from response_tuning.evaluation.selective.correlation import Correlation, correlation
from response_tuning.evaluation.selective.risk_coverage import abstention, risk_coverage
from response_tuning.evaluation.selective.scores_file import read_scores
from response_tuning.evaluation.selective.selective_config import SelectiveConfig
from response_tuning.evaluation.selective.selective_plot import draw_curves
from response_tuning.evaluation.selective.selective_result import Selection, SelectiveResult
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judged, Role, evaluate_judged
from response_tuning.evaluation.shared.judge import Case, Judgement
from response_tuning.evaluation.shared.response_verdicts import response_verdicts
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.evaluation.shared.statistics import estimate_mean
from response_tuning.example import Example, require_prompts
from response_tuning.inference.generate import Response
from response_tuning.models.spec import is_local
from response_tuning.runs.judge import require_judge
from response_tuning.support.errors import UserError
from response_tuning.support.plots import check_plot
from response_tuning.support.progress import say

__all__ = ["RESPONDS", "evaluate_selective"]

RESPONDS = "responds"
"""What decides quality without a judge: the probe's metric of that name."""

_PACKAGE = "response_tuning.evaluation.selective"
"""Where the requests to judges are."""

_GOOD_RATING = 4
_WORST_RATING = 1
_RATING = re.compile(r"[1-5]")
# Two responses to choose a threshold on, and two to report it on.
_FEWEST = 4


def evaluate_selective(config: SelectiveConfig) -> SelectiveResult | None:
    """Answer, rate, draw the curves, and save; None after a dry run.

    Raises:
        UserError: the options contradict each other, the data are bad or too few, the model cannot be loaded, or a
            judge cannot be asked.
    """
    _check(config)
    examples = _held_out(config)
    instructions = [example.prompt or "" for example in examples]

    def measure(answered: Answered, judged: Judged) -> SelectiveResult:
        own = _own_confidences(config, instructions, answered)
        rows = _rows(examples, answered, judged, own)
        return _result(config, rows, _scores(config, examples, answered))

    result = evaluate_judged(
        config,
        "selective",
        instructions,
        roles=[
            Role(config, partial(_confidence_cases, examples), _parse, "confidence"),
            Role(_as_quality_judge(config), partial(_quality_cases, examples), _parse, "quality"),
        ],
        measure=measure,
        judge=config.quality_judge,
    )
    if result is not None and config.plot is not None:
        draw_curves(config.model, result, config.plot)
    return result


def _check(config: SelectiveConfig) -> None:
    own = [name for name in config.confidence if name not in ("judge", "trained")]
    if "trained" in config.confidence:
        if config.judge_run is None:
            raise UserError(
                "--confidence trained needs a --judge-run, which rt train --objective self-judge makes of the rows of "
                "rt data judge-set."
            )
        require_judge(config.judge_run)
    if "judge" in config.confidence and config.judge is None:
        raise UserError("--confidence judge needs a --judge.")
    if "judge" not in config.confidence and config.judge is not None:
        raise UserError(
            "--judge rates for --confidence judge, which is not asked for. Add --confidence judge; or use "
            "--quality-judge to decide what a good response is."
        )
    if own and not is_local(config.model):
        raise UserError(
            f"--confidence {' '.join(own)} needs a model in this process, and {config.model} is not: "
            "choose --confidence judge or trained."
        )
    if config.plot is not None:
        check_plot(config.plot)
    if config.judge is not None and config.judge == config.quality_judge:
        say(f"{config.judge} judges both confidence and quality, and agrees with itself more than with another judge.")


def _held_out(config: SelectiveConfig) -> list[Example]:
    examples = load_examples(config.data, offline=config.offline)
    require_prompts(examples, source=config.data, purpose="rt eval selective")
    drawn = draw(examples, config.max_examples, seed=0)
    if len(drawn) < _FEWEST:
        raise UserError(
            f"A threshold chosen on one half and reported on the other needs at least {_FEWEST} examples, but "
            f"{config.data} gives {len(drawn)}. Raise --max-examples or give more data."
        )
    return drawn


def _confidence_cases(examples: Sequence[Example], answered: Answered) -> Cases:
    """The judge of confidence sees the instruction and the response alone."""
    return {position: Case("rating", texts, _PACKAGE) for position, texts in _shown(examples, answered).items()}


def _quality_cases(examples: Sequence[Example], answered: Answered) -> Cases:
    """The judge of quality sees the reference too."""
    return {
        position: Case("rating_with_reference", {**texts, "reference": examples[position].completion}, _PACKAGE)
        for position, texts in _shown(examples, answered).items()
    }


def _shown(examples: Sequence[Example], answered: Answered) -> dict[int, dict[str, str]]:
    """Instruction and response, by position; no judge is shown a response without a word."""
    return {
        position: {"prompt": example.prompt or "", "response": text}
        for position, (example, text) in enumerate(zip(examples, answered.texts, strict=True))
        if text.strip()
    }


def _as_quality_judge(config: SelectiveConfig) -> SelectiveConfig:
    """The same options, with the judge that decides quality."""
    return config.model_copy(update={"judge": config.quality_judge, "judge_base_url": config.quality_judge_base_url})


def _parse(_: Case, payload: str) -> int | None:
    return int(payload) if _RATING.fullmatch(payload) else None


def _own_confidences(
    config: SelectiveConfig, instructions: Sequence[str], answered: Answered
) -> dict[str, list[float]]:
    """The confidences of models in this process, by name."""
    if set(config.confidence) <= {"judge"}:
        return {}
    # A model in this process answers every instruction, and so does a server whose responses a judge here grades.
    responses = [each if isinstance(each, Response) else Response("", 0, stopped=False) for each in answered.responses]
    folder = results_folder(config.model, "selective", config.output)
    return own_confidences(config, instructions, responses, folder=folder)


def _scores(config: SelectiveConfig, examples: Sequence[Example], answered: Answered) -> list[float | None]:
    """The score of each response that people gave; None where there is none."""
    if config.scores is None:
        return [None] * len(examples)
    return read_scores(config.scores, [example.prompt or "" for example in examples], answered.texts)


def _rows(
    examples: Sequence[Example],
    answered: Answered,
    judged: Judged,
    own: Mapping[str, Sequence[float]],
) -> list[dict[str, Any]]:
    verdicts = response_verdicts(
        [example.prompt or "" for example in examples],
        answered.responses,
        [example.completion for example in examples],
    )
    return [
        _row(
            example,
            response,
            verdicts[position].by_name,
            {role: judgements.get(position) for role, judgements in judged.items()},
            {name: values[position] for name, values in own.items()},
        )
        for position, (example, response) in enumerate(zip(examples, answered.responses, strict=True))
    ]


def _row(
    example: Example,
    response: Response | Failure,
    verdicts: Mapping[str, bool],
    judgements: Mapping[str, Judgement | None],
    own: Mapping[str, float],
) -> dict[str, Any]:
    row = {"prompt": example.prompt, "completion": example.completion}
    if isinstance(response, Failure):
        return {**row, "response": "", "state": "no response", "detail": response.reason, "values": {}}
    ratings = {role: _rating(judgement) for role, judgement in judgements.items()}
    values = dict(own)
    if "quality" not in judgements:
        values["quality"] = float(verdicts[RESPONDS])
    elif (good := ratings["quality"]) is not None:
        values["quality"] = float(good >= _GOOD_RATING)
    if (sure := ratings.get("confidence")) is not None:
        values["judge"] = float(sure)
    missing = [f"{role}: {each.state}" for role, each in judgements.items() if each and each.state != "judged"]
    return {
        **row,
        "response": response.text,
        "state": ", ".join(missing) or "measured",
        **verdicts,
        "ratings": ratings,
        "answers_of_judges": {role: each.answer for role, each in judgements.items() if each},
        "values": values,
    }


def _rating(judgement: Judgement | None) -> int | None:
    """A judge's rating; the lowest for a response without a word, which no judge is shown."""
    if judgement is None:
        return _WORST_RATING
    assert judgement.verdict is None or isinstance(judgement.verdict, int)
    return judgement.verdict


def _result(config: SelectiveConfig, rows: list[dict[str, Any]], given: Sequence[float | None]) -> SelectiveResult:
    values = [row["values"] for row in rows]
    qualities = [each["quality"] for each in values if "quality" in each]
    digit_shares = [each["digit_share"] for each in values if "digit_share" in each]
    selections: dict[str, Selection] = {}
    for name in config.confidence:
        pairs = [(each[name], each["quality"]) for each in values if name in each and "quality" in each]
        if len(pairs) >= _FEWEST:
            confidences, good = [list(column) for column in zip(*pairs, strict=True)]
            chosen = abstention(confidences, good, wanted_quality=config.wanted_quality, seed=config.seed)
            selections[name] = Selection(
                risk_coverage(confidences, good), chosen, _correlation(config, name, rows, given)
            )
    return SelectiveResult(
        quality=estimate_mean(qualities) if qualities else None,
        decided_by=config.quality_judge or RESPONDS,
        scored_by=str(config.scores or config.quality_judge or RESPONDS),
        selections=selections,
        digit_share=estimate_mean(digit_shares) if digit_shares else None,
        states=dict(Counter(row["state"] for row in rows)),
        rows=rows,
    )


def _correlation(
    config: SelectiveConfig, name: str, rows: Sequence[dict[str, Any]], given: Sequence[float | None]
) -> Correlation | None:
    """Of a confidence with the scores: people's, the ratings of the judge of quality, or quality."""

    def score(row: dict[str, Any], by_people: float | None) -> float | None:
        if config.scores is not None:
            return by_people
        if config.quality_judge is not None:
            rating: int | None = row.get("ratings", {}).get("quality")
            return rating
        quality: float | None = row["values"].get("quality")
        return quality

    scored = [(row["values"].get(name), score(row, by_people)) for row, by_people in zip(rows, given, strict=True)]
    pairs = [(confidence, value) for confidence, value in scored if confidence is not None and value is not None]
    return correlation([pair[0] for pair in pairs], [pair[1] for pair in pairs])
