"""Self-evaluation and abstention: is a model better when it keeps its doubtful responses back?

After Ye & Ng 2024 (Self-J, arXiv 2409.00935). Every response gets a confidence before it is shown:

    likelihood   the mean log-likelihood of its tokens, in nats, under the model that wrote it
    self         the rating from 1 to 5 that this model expects of itself (``self_rating``)
    judge        the rating from 1 to 5 that a judge gives it, who sees the instruction and the response alone

and a quality, 1 or 0, that the confidence should foretell: whether it ``answers`` in the probe's sense, or whether a
judge who sees the reference too rates it 4 or 5. ``risk_coverage`` compares the two.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.asking.ask import Failure, is_local
from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.data.sampling import draw
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.evaluation_config import JudgeOptions, SelectiveConfig
from response_tuning.evaluation.selective.risk_coverage import Abstention, RiskCoverage, abstention, risk_coverage
from response_tuning.evaluation.selective.selective_plot import draw_curves
from response_tuning.evaluation.selective.self_rating import rate_responses
from response_tuning.evaluation.shared.answering import Answered, respond
from response_tuning.evaluation.shared.judge import Case, Judgement, forecast_judging, judge_cases
from response_tuning.evaluation.shared.relevance import instruction_ranks
from response_tuning.evaluation.shared.response_verdicts import response_verdicts
from response_tuning.evaluation.shared.results import results_folder, save_evaluation
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.example import Example, require_prompts
from response_tuning.inference.generate import Response
from response_tuning.inference.score import mean_log_likelihoods
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.errors import UserError
from response_tuning.support.plots import check_plot
from response_tuning.support.progress import progress_bar, say

__all__ = ["ANSWERS", "Selection", "SelectiveResult", "evaluate_selective", "own_response_ids"]

ANSWERS = "answers"
"""What decides quality where no judge does: the probe's metric of that name."""

_GOOD_RATING = 4
_WORST_RATING = 1
_RATING = re.compile(r"[1-5]")
# A half for choosing a threshold and one for reporting it, and two responses in each.
_FEWEST = 4


@dataclass(frozen=True)
class Selection:
    """How well one confidence selects."""

    risk_coverage: RiskCoverage
    abstention: Abstention


@dataclass(frozen=True)
class SelectiveResult:
    """A curve and a threshold for each confidence, and the responses they came from."""

    quality: Estimate | None
    """The share of good responses with everything shown; None where no response could be rated."""
    decided_by: str
    """What decides quality: "answers", or the judge."""
    selections: dict[str, Selection]
    """By confidence; without those that fewer than four responses have."""
    digit_share: Estimate | None
    """The probability that the model begins its reply with a rating when asked for one; None without ``self``."""
    states: dict[str, int]
    """Responses by state: measured, no response, or what is missing and why."""
    rows: list[dict[str, Any]]


@dataclass(frozen=True)
class _Judging:
    """What one judge is asked."""

    options: JudgeOptions
    cases: dict[int, Case]
    """By the position of the response; a response without a word is not shown to a judge."""
    folder: Path


def evaluate_selective(config: SelectiveConfig) -> SelectiveResult | None:
    """Answer, rate, draw the curves, and save; None after a dry run.

    Raises:
        UserError: the options contradict each other, the data are bad or too few, the model cannot be loaded, or a
            judge cannot be asked.
    """
    _check(config)
    examples = _held_out(config)
    folder = results_folder(config.model, "selective", config.output)
    instructions = [example.prompt or "" for example in examples]
    judges = [*config.judges(), *_as_quality_judge(config).judges()]
    answered = respond(config, instructions, folder=folder, judges=judges)
    if answered is None:
        return None
    judgings = _judgings(config, examples, answered, folder)
    for role, judging in judgings.items():
        forecast = forecast_judging(list(judging.cases.values()), judging.options, folder=judging.folder)
        say(f"judging {role}: {forecast}")
    if judgings and config.dry_run:
        return None
    judged = {role: _judge(judging) for role, judging in judgings.items()}
    rows = _rows(examples, answered, judged, _own_confidences(config, instructions, answered))
    result = _result(config, rows)
    save_evaluation(
        folder,
        "selective",
        config=config,
        answered=answered,
        metrics={
            "quality": result.quality,
            "decided_by": result.decided_by,
            "selections": result.selections,
            "digit_share": result.digit_share,
            "states": result.states,
        },
        rows=result.rows,
        judge=config.quality_judge,
    )
    if config.plot is not None:
        draw_curves(config.model, result, config.plot)
    return result


def own_response_ids(conversation: Conversation, response: Response) -> list[int]:
    """The ids of a response as its likelihood is measured: with the stop token only where the model wrote it.

    A response without a word is measured by the stop token, for want of anything else.
    """
    ids = conversation.response_ids(response.text)
    return ids if response.stopped or not response.text else ids[:-1]


def _check(config: SelectiveConfig) -> None:
    own = [name for name in config.confidence if name != "judge"]
    if "judge" in config.confidence and config.judge is None:
        raise UserError("--confidence judge needs a --judge.")
    if "judge" not in config.confidence and config.judge is not None:
        raise UserError(
            "--judge rates for --confidence judge, which is not asked for. Add it; or, to decide what a good response "
            "is, choose --quality-judge."
        )
    if own and not is_local(config.model):
        raise UserError(
            f"--confidence {' '.join(own)} needs a model in this process, and {config.model} is none: "
            "choose --confidence judge."
        )
    if config.plot is not None:
        check_plot(config.plot)
    if config.judge is not None and config.judge == config.quality_judge:
        say(f"{config.judge} judges both confidence and quality: it agrees with itself more than with another judge.")


def _held_out(config: SelectiveConfig) -> list[Example]:
    examples = load_examples(config.data, offline=config.offline)
    require_prompts(examples, source=config.data, purpose="rt eval selective")
    drawn = draw(examples, config.max_examples, seed=0)
    if len(drawn) < _FEWEST:
        raise UserError(
            f"A threshold that is chosen on one half and reported on the other needs at least {_FEWEST} examples, but "
            f"there are {len(drawn)} of {config.data}. Raise --max-examples or give more data."
        )
    return drawn


def _judgings(
    config: SelectiveConfig, examples: Sequence[Example], answered: Answered, folder: Path
) -> dict[str, _Judging]:
    """What is asked of the judge of confidence and of the judge of quality, each with a record of its own."""
    judgings: dict[str, _Judging] = {}
    texts = _texts(answered)
    worded = [at for at, text in enumerate(texts) if text.strip()]
    shown = {at: {"prompt": examples[at].prompt or "", "response": texts[at]} for at in worded}
    if config.judge is not None:
        cases = {at: Case("rating", shown[at]) for at in worded}
        judgings["confidence"] = _Judging(config, cases, folder / "confidence")
    if config.quality_judge is not None:
        cases = {
            at: Case("rating_with_reference", {**shown[at], "reference": examples[at].completion}) for at in worded
        }
        judgings["quality"] = _Judging(_as_quality_judge(config), cases, folder / "quality")
    return judgings


def _as_quality_judge(config: SelectiveConfig) -> SelectiveConfig:
    """The same options, where the judge is the one that decides quality."""
    return config.model_copy(update={"judge": config.quality_judge, "judge_base_url": config.quality_judge_base_url})


def _judge(judging: _Judging) -> dict[int, Judgement]:
    judgements = judge_cases(list(judging.cases.values()), judging.options, _parse, folder=judging.folder)
    return dict(zip(judging.cases, judgements, strict=True))


def _parse(_: Case, payload: str) -> int | None:
    return int(payload) if _RATING.fullmatch(payload) else None


def _own_confidences(
    config: SelectiveConfig, instructions: Sequence[str], answered: Answered
) -> dict[str, list[float]]:
    """The confidences that the model itself gives, by name, and for ``self`` the share of the digits."""
    names = [name for name in config.confidence if name != "judge"]
    if not names:
        return {}
    loaded, conversation = load_with_conversation(config.model, config.format, dtype=config.dtype, device=config.device)
    # A model in this process has answered everything.
    responses = [response for response in answered.responses if isinstance(response, Response)]
    confidences: dict[str, list[float]] = {}
    if "likelihood" in names:
        encoded = [
            _encoded(conversation, instruction, response)
            for instruction, response in zip(instructions, responses, strict=True)
        ]
        with progress_bar("scoring own responses", len(encoded)) as bar:
            confidences["likelihood"] = mean_log_likelihoods(loaded, encoded, bar=bar)
    if "self" in names:
        pairs = [(instruction, response.text) for instruction, response in zip(instructions, responses, strict=True)]
        ratings = rate_responses(loaded, conversation, pairs)
        confidences["self"] = [rating.expected for rating in ratings]
        confidences["digit_share"] = [rating.digit_share for rating in ratings]
    return confidences


def _encoded(conversation: Conversation, instruction: str, response: Response) -> EncodedExample:
    prompt = conversation.prompt_ids(instruction)
    return EncodedExample([*prompt, *own_response_ids(conversation, response)], len(prompt))


def _rows(
    examples: Sequence[Example],
    answered: Answered,
    judged: Mapping[str, Mapping[int, Judgement]],
    own: Mapping[str, Sequence[float]],
) -> list[dict[str, Any]]:
    ranks = instruction_ranks([example.prompt or "" for example in examples], _texts(answered))
    return [
        _row(
            example,
            response,
            ranks[at],
            {role: judgements.get(at) for role, judgements in judged.items()},
            {name: values[at] for name, values in own.items()},
        )
        for at, (example, response) in enumerate(zip(examples, answered.responses, strict=True))
    ]


def _row(
    example: Example,
    response: Response | Failure,
    instruction_rank: int,
    judgements: Mapping[str, Judgement | None],
    own: Mapping[str, float],
) -> dict[str, Any]:
    row = {"prompt": example.prompt, "completion": example.completion}
    if isinstance(response, Failure):
        return {**row, "response": "", "state": "no response", "detail": response.reason, "values": {}}
    verdicts = response_verdicts(example.prompt or "", response, instruction_rank)
    ratings = {role: _rating(judgement) for role, judgement in judgements.items()}
    values = dict(own)
    if "quality" not in judgements:
        values["quality"] = float(verdicts[ANSWERS])
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
    """A judge's rating; a response without a word, which no judge was shown, has the lowest."""
    if judgement is None:
        return _WORST_RATING
    assert judgement.verdict is None or isinstance(judgement.verdict, int)
    return judgement.verdict


def _result(config: SelectiveConfig, rows: list[dict[str, Any]]) -> SelectiveResult:
    values = [row["values"] for row in rows]
    qualities = [each["quality"] for each in values if "quality" in each]
    shares = [each["digit_share"] for each in values if "digit_share" in each]
    selections: dict[str, Selection] = {}
    for name in config.confidence:
        pairs = [(each[name], each["quality"]) for each in values if name in each and "quality" in each]
        if len(pairs) >= _FEWEST:
            confidences, good = [list(column) for column in zip(*pairs, strict=True)]
            chosen = abstention(confidences, good, wanted_quality=config.wanted_quality, seed=config.seed)
            selections[name] = Selection(risk_coverage(confidences, good), chosen)
    return SelectiveResult(
        quality=estimate_mean(qualities) if qualities else None,
        decided_by=config.quality_judge or ANSWERS,
        selections=selections,
        digit_share=estimate_mean(shares) if shares else None,
        states=dict(Counter(row["state"] for row in rows)),
        rows=rows,
    )


def _texts(answered: Answered) -> list[str]:
    return ["" if isinstance(response, Failure) else response.text for response in answered.responses]
