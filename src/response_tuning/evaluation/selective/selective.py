"""Self-evaluation and abstention: is a model better if it withholds the responses that it is unsure of?

After Ye & Ng 2024 (Self-J, arXiv 2409.00935). Every response gets a confidence:

    likelihood   the mean log-likelihood of its tokens, in nats, under the model that wrote it
    self         the expected rating, from 1 to 5, of the model itself (``self_rating``)
    judge        the rating from 1 to 5 of a judge that sees the instruction and the response only

and a quality, 1 or 0, that the confidence should predict: whether it ``responds`` in the probe's sense, or whether a
judge that also sees the reference rates it 4 or 5. ``risk_coverage`` compares the two.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.data.sampling import draw
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.selective.risk_coverage import abstention, risk_coverage
from response_tuning.evaluation.selective.selective_config import SelectiveConfig
from response_tuning.evaluation.selective.selective_plot import draw_curves
from response_tuning.evaluation.selective.selective_result import Selection, SelectiveResult
from response_tuning.evaluation.selective.self_rating import SelfRating, rate_responses
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judged, Role, evaluate_judged
from response_tuning.evaluation.shared.judge import Case, Judgement
from response_tuning.evaluation.shared.response_verdicts import response_verdicts
from response_tuning.evaluation.shared.statistics import estimate_mean
from response_tuning.example import Example, require_prompts
from response_tuning.inference.generate import Response
from response_tuning.inference.responder import PromptTooLongError, Responder
from response_tuning.inference.score import mean_log_likelihoods
from response_tuning.models.spec import is_local
from response_tuning.runs.load import load_responder
from response_tuning.support.errors import UserError
from response_tuning.support.plots import check_plot
from response_tuning.support.progress import progress_bar, say
from response_tuning.support.records import preview

__all__ = ["RESPONDS", "evaluate_selective", "own_response_ids"]

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
        return _result(config, _rows(examples, answered, judged, own))

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


def own_response_ids(conversation: Conversation, response: Response) -> list[int]:
    """The token ids that the likelihood of a response is measured on: with the stop token only if the model wrote it.

    An empty response is measured on the stop token, as it has no other.
    """
    return conversation.response_ids(response.text, ended=response.stopped or not response.text)


def _check(config: SelectiveConfig) -> None:
    own = [name for name in config.confidence if name != "judge"]
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
            "choose --confidence judge."
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
    """The confidences of the model itself, by name, and for ``self`` the probability of a digit."""
    names = [name for name in config.confidence if name != "judge"]
    if not names:
        return {}
    purpose = f"--confidence {' '.join(names)}"
    responder = load_responder(config.model, config.format, dtype=config.dtype, device=config.device, purpose=purpose)
    # A model in this process answers every instruction.
    responses = [response for response in answered.responses if isinstance(response, Response)]
    confidences: dict[str, list[float]] = {}
    if "likelihood" in names:
        encoded = [
            _encoded(responder, instruction, response)
            for instruction, response in zip(instructions, responses, strict=True)
        ]
        with progress_bar("scoring own responses", len(encoded)) as bar:
            confidences["likelihood"] = mean_log_likelihoods(responder, encoded, bar=bar)
    if "self" in names:
        ratings = _own_ratings(responder, instructions, responses)
        confidences["self"] = [rating.expected for rating in ratings]
        confidences["digit_share"] = [rating.digit_share for rating in ratings]
    return confidences


def _own_ratings(responder: Responder, instructions: Sequence[str], responses: Sequence[Response]) -> list[SelfRating]:
    pairs = [(instruction, response.text) for instruction, response in zip(instructions, responses, strict=True)]
    try:
        return rate_responses(responder, pairs)
    except PromptTooLongError as error:
        row = error.index
        name = f"The request to rate the response to row {row + 1} ({preview(instructions[row])})"
        raise error.named(name) from None


def _encoded(responder: Responder, instruction: str, response: Response) -> EncodedExample:
    """A prompt and the model's own response, which the context may have ended."""
    prompt = responder.conversation.prompt_ids(instruction)
    ids = [*prompt, *own_response_ids(responder.conversation, response)]
    return EncodedExample(ids[: responder.context], len(prompt))


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


def _result(config: SelectiveConfig, rows: list[dict[str, Any]]) -> SelectiveResult:
    values = [row["values"] for row in rows]
    qualities = [each["quality"] for each in values if "quality" in each]
    digit_shares = [each["digit_share"] for each in values if "digit_share" in each]
    selections: dict[str, Selection] = {}
    for name in config.confidence:
        pairs = [(each[name], each["quality"]) for each in values if name in each and "quality" in each]
        if len(pairs) >= _FEWEST:
            confidences, good = [list(column) for column in zip(*pairs, strict=True)]
            chosen = abstention(confidences, good, wanted_quality=config.wanted_quality, seed=config.seed)
            selections[name] = Selection(risk_coverage(confidences, good), chosen)
    return SelectiveResult(
        quality=estimate_mean(qualities) if qualities else None,
        decided_by=config.quality_judge or RESPONDS,
        selections=selections,
        digit_share=estimate_mean(digit_shares) if digit_shares else None,
        states=dict(Counter(row["state"] for row in rows)),
        rows=rows,
    )
