"""Whose answers fit what users wanted? A judge compares two models' answers by the users' preferences as a checklist.

Each pair is judged in both orders, with the checklist and without it. Its preference is the mean of the two orders: a
win above one half, a loss below, and a tie where the orders contradict each other. Source: Shi et al. 2024
(arXiv 2408.15549), whose judge sees the conversation, both answers and the checklist as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.asking.ask_options import AskOptions
from response_tuning.data.sampling import draw
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.checklist.checklist_config import COLUMNS, ChecklistConfig
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.dialogues import Dialogue, respond_to_dialogues
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judgements, Role, evaluate_judged
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions
from response_tuning.evaluation.shared.judge import Case
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.example import Example, require_prompts
from response_tuning.support.errors import UserError
from response_tuning.synthesis.feedback.asks import conversation_text, parse_choice

__all__ = ["MODES", "ChecklistResult", "Outcomes", "evaluate_checklist"]

MODES = ("with checklist", "without checklist")
_VALUES = {"with checklist": "win", "without checklist": "win_without_checklist"}
_SCORES = {"A": 1.0, "B": 0.0, "TIE": 0.5}


@dataclass(frozen=True)
class Outcomes:
    """How the model fares against the reference in one mode."""

    preference: Estimate
    """The mean preference for the model, from 0 to 1."""
    wins: int
    ties: int
    losses: int
    agreement: Estimate
    """The proportion of pairs with the same verdict in both orders."""


@dataclass(frozen=True)
class ChecklistResult:
    """The outcomes with and without the checklist, and the rows behind them."""

    outcomes: dict[str, Outcomes]
    """By mode; a mode without any verdict in both orders is missing."""
    without_verdict: int
    """Verdicts that are missing, of four for each row."""
    without_response: int
    """Rows on which the model or the reference gave no response."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return {
            **{mode.replace(" ", "_"): outcomes for mode, outcomes in self.outcomes.items()},
            "without_verdict": self.without_verdict,
            "without_response": self.without_response,
        }


@dataclass
class _Pairs:
    """The rows, and what the reference answers to them."""

    config: ChecklistConfig
    examples: Sequence[Example]
    reference: list[str | Failure] = field(default_factory=list)

    def answer(
        self, config: JudgedOptions, _: Sequence[str], *, folder: Path, judges: Sequence[AskOptions] = ()
    ) -> Answered | None:
        """The responses of both models; None after a dry run with open questions."""
        dialogues = [Dialogue(example.prompt or "", tuple(example.earlier_turns or ())) for example in self.examples]
        other = self._referred(dialogues, folder, judges)
        answered = respond_to_dialogues(config, dialogues, folder=folder, judges=judges)
        if other is None or answered is None:
            return None
        self.reference = other
        return answered

    def _referred(
        self, dialogues: Sequence[Dialogue], folder: Path, judges: Sequence[AskOptions]
    ) -> list[str | Failure] | None:
        name = self.config.reference
        assert name is not None
        if name in COLUMNS:
            return [_column(example, name) for example in self.examples]
        answered = respond_to_dialogues(self.config, dialogues, folder=folder, judges=judges, model=name)
        if answered is None:
            return None
        return [response if isinstance(response, Failure) else response.text for response in answered.responses]

    def cases(self, answered: Answered) -> Cases:
        """Four cases for each row: with and without the checklist, the model first and second."""
        cases: dict[int, Case] = {}
        for row, (example, response, other) in enumerate(self._triples(answered)):
            if isinstance(response, Failure) or isinstance(other, Failure):
                continue
            for place, (mode, first, second) in enumerate(
                (mode, *order) for mode in MODES for order in ((response.text, other), (other, response.text))
            ):
                cases[4 * row + place] = _case(example, mode, first, second)
        return cases

    def result(self, answered: Answered, judgements: Judgements) -> ChecklistResult:
        """Measure the judgements."""
        rows: list[dict[str, Any]] = []
        scores: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
        failed = missing = 0
        for number, (example, response, other) in enumerate(self._triples(answered)):
            row: dict[str, Any] = {"prompt": example.prompt or "", "preferences": preferences_of(example)}
            row |= {"response": _text(response), "reference": _text(other)}
            values: dict[str, float] = {}
            if isinstance(response, Failure) or isinstance(other, Failure):
                failed += 1
            else:
                values, states = _values(judgements, 4 * number, scores)
                missing += sum(state != "judged" for state in states)
                row |= {"state": states, "answer": _answers(judgements, 4 * number)}
            rows.append({**row, "values": values})
        outcomes = {mode: _outcomes(pairs) for mode, pairs in scores.items() if pairs}
        return ChecklistResult(outcomes, missing, failed, rows)

    def _triples(self, answered: Answered) -> list[tuple[Example, Any, str | Failure]]:
        return [*zip(self.examples, answered.responses, self.reference, strict=True)]


def evaluate_checklist(config: ChecklistConfig) -> ChecklistResult | None:
    """Answer the requests with both models, have the pairs judged, and save; None after a dry run.

    Raises:
        UserError: data or reference are missing, the data have no preferences, or a model cannot be asked.
    """
    if config.data is None or config.reference is None:
        missing = "--data, rows with preferences" if config.data is None else "--reference, what to compare with"
        raise UserError(f"rt eval checklist needs {missing}. rt data feedback makes such rows.")
    examples = load_examples(str(config.data), offline=config.offline)
    require_prompts(examples, source=str(config.data), purpose="answering requests")
    for number, example in enumerate(examples, start=1):
        if not preferences_of(example):
            raise UserError(f"{config.data}: row {number} has no 'preferences', a list of lines of text.")
    pairs = _Pairs(config, draw(examples, config.max_examples, seed=0))
    return evaluate_judged(
        config,
        "checklist",
        [example.prompt or "" for example in pairs.examples],
        roles=[Role(config, pairs.cases, lambda _, verdict: parse_choice(verdict))],
        measure=lambda answered, judged: pairs.result(answered, judged.get("", {})),
        judge=config.judge,
        answer=pairs.answer,
    )


def preferences_of(example: Example) -> list[str]:
    """The lines of the field ``preferences``; empty if it is missing or is no list of texts."""
    value = (example.model_extra or {}).get("preferences")
    is_list = isinstance(value, list) and all(isinstance(line, str) for line in value)
    return [line for line in value if line.strip()] if is_list and value else []


def _column(example: Example, name: str) -> str | Failure:
    value = example.completion if name == "completion" else (example.model_extra or {}).get(name)
    return value if isinstance(value, str) and value.strip() else Failure(f"the row has no text in {name!r}")


def _case(example: Example, mode: str, first: str, second: str) -> Case:
    lines = preferences_of(example) if mode == MODES[0] else []
    return Case(
        "checklist",
        {
            "conversation": conversation_text(example.earlier_turns or ()),
            "prompt": example.prompt or "",
            "preferences": "\n".join(f"- {line}" for line in lines),
            "first": first,
            "second": second,
        },
        package="response_tuning.synthesis.feedback",
    )


def _values(
    judgements: Judgements, start: int, scores: Mapping[str, list[tuple[float, float]]]
) -> tuple[dict[str, float], list[str]]:
    """The model's preference in each mode that has both verdicts, and the state of all four; collects the scores."""
    values: dict[str, float] = {}
    four = [judgements[start + place] for place in range(4)] if start in judgements else []
    for mode, (first, second) in zip(MODES, (four[:2], four[2:]), strict=True) if four else ():
        if first.verdict is not None and second.verdict is not None:
            pair = (_SCORES[first.verdict], 1 - _SCORES[second.verdict])
            scores[mode].append(pair)
            values[_VALUES[mode]] = sum(pair) / 2
    return values, [judgement.state for judgement in four]


def _answers(judgements: Judgements, start: int) -> str:
    return "\n\n---\n\n".join(judgements[start + place].answer for place in range(4) if start + place in judgements)


def _outcomes(pairs: Sequence[tuple[float, float]]) -> Outcomes:
    means = [(first + second) / 2 for first, second in pairs]
    return Outcomes(
        preference=estimate_mean(means, bounds=(0.0, 1.0)),
        wins=sum(mean > 0.5 for mean in means),
        ties=sum(mean == 0.5 for mean in means),
        losses=sum(mean < 0.5 for mean in means),
        agreement=estimate_mean([float(first == second) for first, second in pairs]),
    )


def _text(response: Any) -> str:
    return "" if isinstance(response, Failure) else str(response)
