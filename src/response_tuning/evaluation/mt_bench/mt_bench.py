"""MT-Bench: answers to 80 questions of two turns, each scored by a judge from 1 to 10 (Zheng et al. 2023).

Source: arXiv 2306.05685, single-answer grading; the score of a model is the mean over both turns of all questions. The
authors sample some categories at a temperature of 0.7; here every answer is greedy, as in all evaluations.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.sampling import draw
from response_tuning.evaluation.mt_bench.mt_bench_config import SCALE, MtBenchConfig
from response_tuning.evaluation.mt_bench.questions import TURNS, Question, published_requests, read_questions
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.dialogues import Dialogue, respond_to_dialogues
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judgements, Role, evaluate_judged
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions
from response_tuning.evaluation.shared.judge import Case
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.example import Turn
from response_tuning.inference.generate import Response

__all__ = ["MtBenchResult", "evaluate_mt_bench"]

_PACKAGE = "response_tuning.evaluation.mt_bench"
_SCORE = re.compile(r"(\d+(?:\.\d+)?)(?:\s*/\s*10)?")
_PUBLISHED_SCORE = re.compile(r"\[\[?(\d+\.?\d*)\]?\]")


@dataclass(frozen=True)
class MtBenchResult:
    """The scores from 1 to 10, and the rows behind them."""

    score: Estimate | None
    """The mean over questions with both turns scored; None without any."""
    turns: dict[str, Estimate]
    """The mean of each turn: ``turn_1`` and ``turn_2``."""
    categories: dict[str, Estimate]
    """The mean of each category, over questions with both turns scored."""
    states: dict[str, int]
    """Turns by state: judged, unparsed, no response and so on."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return {"score": self.score, **self.turns, "categories": self.categories, "states": self.states}


def evaluate_mt_bench(config: MtBenchConfig) -> MtBenchResult | None:
    """Answer both turns of each question, have the answers scored, and save; None after a dry run.

    Raises:
        UserError: the questions are not available, the model cannot be loaded or asked, or the judge cannot.
    """
    questions = draw(read_questions(config), config.max_examples, seed=0)
    is_published = config.judge_prompts == "published" and config.judge is not None
    requests = published_requests(offline=config.offline) if is_published else None

    def answer(
        config: JudgedOptions, _: Sequence[str], /, *, folder: Path, judges: Sequence[AskOptions] = ()
    ) -> Answered | None:
        return _answer(config, questions, folder, judges)

    return evaluate_judged(
        config,
        "mt-bench",
        [question.turns[0] for question in questions],
        roles=[
            Role(
                config,
                lambda answered: _cases(questions, answered, requests),
                _parse if requests is None else _parse_published,
            )
        ],
        measure=lambda answered, judged: _result(questions, answered, judged.get("", {})),
        judge=config.judge,
        answer=answer,
    )


def _answer(
    config: JudgedOptions, questions: Sequence[Question], folder: Path, judges: Sequence[AskOptions]
) -> Answered | None:
    """The responses to all first turns, then to all second ones, which follow the model's own first answer."""
    first = respond_to_dialogues(
        config, [Dialogue(question.turns[0]) for question in questions], folder=folder, judges=judges
    )
    if first is None:
        return None
    answered = [
        (question, response)
        for question, response in zip(questions, first.responses, strict=True)
        if isinstance(response, Response)
    ]
    second = respond_to_dialogues(
        config, [_second(question, response) for question, response in answered], folder=folder, judges=judges
    )
    if second is None:
        return None
    responses = iter(second.responses)
    later = [
        next(responses) if isinstance(response, Response) else Failure("the first turn has no response")
        for response in first.responses
    ]
    return Answered([*first.responses, *later], first.backend)


def _second(question: Question, response: Response) -> Dialogue:
    turns = (Turn(role="user", content=question.turns[0]), Turn(role="assistant", content=response.text))
    return Dialogue(question.turns[1], turns)


def _cases(questions: Sequence[Question], answered: Answered, requests: dict[str, dict[str, str]] | None) -> Cases:
    """A case for each response, by its position: all first turns, then all second ones."""
    count = len(questions)
    cases: dict[int, Case] = {}
    for position, response in enumerate(answered.responses):
        if isinstance(response, Failure):
            continue
        question, turn = questions[position % count], position // count
        texts = _texts(question, turn, [answered.texts[position % count], response.text])
        cases[position] = _case(turn, texts) if requests is None else _published_case(turn, texts, requests)
    return cases


def _texts(question: Question, turn: int, answers: Sequence[str]) -> dict[str, str]:
    references = question.references or ("",) * TURNS
    texts = {"question": question.turns[turn], "reference": references[turn], "answer": answers[1]}
    if turn:
        texts |= {"first_question": question.turns[0], "first_reference": references[0], "first_answer": answers[0]}
    return texts


def _case(turn: int, texts: dict[str, str]) -> Case:
    return Case("second_turn" if turn else "first_turn", texts, package=_PACKAGE)


def _published_case(turn: int, texts: dict[str, str], requests: dict[str, dict[str, str]]) -> Case:
    """As FastChat fills the published requests."""
    request = requests[f"single{'-math' if texts['reference'] else ''}-v1{'-multi-turn' if turn else ''}"]
    if turn:
        values = {
            "question_1": texts["first_question"],
            "question_2": texts["question"],
            "answer_1": texts["first_answer"],
            "answer_2": texts["answer"],
            "ref_answer_1": texts["first_reference"],
            "ref_answer_2": texts["reference"],
        }
    else:
        values = {"question": texts["question"], "answer": texts["answer"], "ref_answer_1": texts["reference"]}
    return Case(
        "published",
        texts,
        package=_PACKAGE,
        request=request["prompt_template"].format(**values),
        system=request["system_prompt"],
    )


def _parse(_: Case, verdict: str) -> float | None:
    found = _SCORE.fullmatch(verdict)
    return _on_scale(float(found[1])) if found else None


def _parse_published(_: Case, answer: str) -> float | None:
    """The first rating in brackets, as FastChat reads it."""
    found = _PUBLISHED_SCORE.search(answer)
    return _on_scale(float(found[1])) if found else None


def _on_scale(score: float) -> float | None:
    return score if SCALE[0] <= score <= SCALE[1] else None


def _result(questions: Sequence[Question], answered: Answered, judgements: Judgements) -> MtBenchResult:
    count = len(questions)
    rows: list[dict[str, Any]] = []
    states: list[str] = []
    for number, question in enumerate(questions):
        places = range(number, TURNS * count, count)
        judged = [judgements.get(place) for place in places]
        own = [
            "no response" if isinstance(answered.responses[place], Failure) else each.state if each else "not judged"
            for place, each in zip(places, judged, strict=True)
        ]
        scores = {
            f"turn_{turn}": each.verdict
            for turn, each in enumerate(judged, start=1)
            if each is not None and each.verdict is not None
        }
        values = {**scores, **({"score": sum(scores.values()) / TURNS} if len(scores) == TURNS else {})}
        texts = [answered.texts[place] for place in places]
        row: dict[str, Any] = {"prompt": question.turns[0], "turns": [*question.turns], "category": question.category}
        row |= {"response": "\n\n---\n\n".join(texts), "responses": texts, "state": own}
        row["answer"] = "\n\n---\n\n".join(each.answer for each in judged if each is not None)
        states += own
        rows.append({**row, "values": values})
    categories = dict.fromkeys(question.category for question in questions)
    by_category = {name: _mean([row for row in rows if row["category"] == name], "score") for name in categories}
    by_turn = {name: _mean(rows, name) for name in ("turn_1", "turn_2")}
    return MtBenchResult(
        score=_mean(rows, "score"),
        turns={name: mean for name, mean in by_turn.items() if mean is not None},
        categories={name: mean for name, mean in by_category.items() if mean is not None},
        states={state: states.count(state) for state in dict.fromkeys(states)},
        rows=rows,
    )


def _mean(rows: Sequence[dict[str, Any]], name: str) -> Estimate | None:
    values = [float(row["values"][name]) for row in rows if name in row["values"]]
    return estimate_mean(values, bounds=SCALE) if values else None
