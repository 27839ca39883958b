"""InFoBench: which requirements of an instruction does a response meet (Qin et al. 2024, arXiv 2401.03601)?

Every instruction comes with yes/no questions, one for each thing that it requires. A judge answers each. The decomposed
requirements following ratio is the number of requirements met over the number of requirements; so an instruction with
many requirements counts more than one with few. An & Kim 2025 report it in Tables 3 and 14.

    drfr               over all requirements
    drfr, easy|hard    over those of one level
    drfr, LABEL        over those of one kind: content, linguistic, style, format, number

Intervals resample instructions, whose requirements depend on each other. Differences from the authors' program: the
judge sees one question at a time and not its own earlier answers; and a requirement without a verdict is counted and
left out, where theirs counts it as not met.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.data.sampling import draw
from response_tuning.evaluation.infobench.infobench_config import InfobenchConfig
from response_tuning.evaluation.infobench.requirements import Instruction, Requirement, load_instructions
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judgements, Role, evaluate_judged
from response_tuning.evaluation.shared.judge import Case, Judgement
from response_tuning.evaluation.shared.statistics import Estimate, estimate_ratio

__all__ = ["InfobenchResult", "evaluate_infobench"]

_VERDICTS = {"yes": True, "no": False}
_NOT_JUDGED = "not judged"
_NO_RESPONSE = "no response"


@dataclass(frozen=True)
class InfobenchResult:
    """The ratios, and the rows behind them."""

    ratios: dict[str, Estimate]
    """Overall, by level and by kind of requirement; n counts instructions. Empty without a judge."""
    categories: dict[str, Estimate]
    """By the category of the instruction."""
    states: dict[str, int]
    """Requirements by state: judged, unparsed, error after retries, no response, not judged."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        categories = [{"category": name, **asdict(estimate)} for name, estimate in self.categories.items()]
        return {**self.ratios, "states": self.states, "by_category": categories}


def evaluate_infobench(config: InfobenchConfig) -> InfobenchResult | None:
    """Answer the instructions, have every requirement judged, and save; None after a dry run.

    Raises:
        UserError: the instructions are not available, the model cannot be loaded, or the judge cannot be asked.
    """
    every = load_instructions(config.prompts, offline=config.offline)
    instructions = draw(every, config.max_examples, seed=0)
    return evaluate_judged(
        config,
        "infobench",
        [instruction.prompt for instruction in instructions],
        roles=[Role(config, lambda answered: _cases(instructions, answered), _parse)],
        measure=lambda answered, judged: _result(instructions, answered, judged.get("", {})),
        judge=config.judge,
    )


def _numbered(instructions: Sequence[Instruction]) -> Iterator[tuple[int, int, Requirement]]:
    """Every requirement: its number among all, and the position of its instruction."""
    pairs = ((position, each) for position, one in enumerate(instructions) for each in one.requirements)
    for number, (position, requirement) in enumerate(pairs):
        yield number, position, requirement


def _cases(instructions: Sequence[Instruction], answered: Answered) -> Cases:
    return {
        number: Case(
            "requirement",
            {
                "prompt": instructions[position].prompt,
                "response": answered.texts[position],
                "requirement": requirement.question,
            },
            package="response_tuning.evaluation.infobench",
        )
        for number, position, requirement in _numbered(instructions)
        if not isinstance(answered.responses[position], Failure)
    }


def _parse(_: Case, payload: str) -> bool | None:
    return _VERDICTS.get(payload.lower())


def _result(instructions: Sequence[Instruction], answered: Answered, judgements: Judgements) -> InfobenchResult:
    judged: list[list[dict[str, Any]]] = [[] for _ in instructions]
    for number, position, requirement in _numbered(instructions):
        missing = _NO_RESPONSE if isinstance(answered.responses[position], Failure) else _NOT_JUDGED
        judged[position].append(_judged(requirement, judgements.get(number), missing))
    rows: list[dict[str, Any]] = [
        {
            "id": instruction.identifier,
            "prompt": instruction.prompt,
            "level": instruction.level,
            "category": instruction.category,
            "response": text,
            "requirements": requirements,
            "values": _values(instruction.level, requirements),
        }
        for instruction, text, requirements in zip(instructions, answered.texts, judged, strict=True)
    ]
    states = [requirement["state"] for row in rows for requirement in row["requirements"]]
    return InfobenchResult(
        ratios=_ratios([row["values"] for row in rows]),
        categories=_ratios([_of_category(row) for row in rows]),
        states={state: states.count(state) for state in dict.fromkeys(states)},
        rows=rows,
    )


def _judged(requirement: Requirement, judgement: Judgement | None, missing: str) -> dict[str, Any]:
    return {
        "question": requirement.question,
        "labels": list(requirement.labels),
        "state": missing if judgement is None else judgement.state,
        "met": None if judgement is None else judgement.verdict,
        "answer": "" if judgement is None else judgement.answer,
    }


def _values(level: str, requirements: Sequence[dict[str, Any]]) -> dict[str, list[int]]:
    """Per metric, how many requirements of one instruction are met, of how many that were judged."""
    values: dict[str, list[int]] = {}
    for requirement in requirements:
        if requirement["met"] is None:
            continue
        groups = [*filter(None, [level]), *requirement["labels"]]
        for name in ("drfr", *(f"drfr, {group}" for group in groups)):
            counts = values.setdefault(name, [0, 0])
            counts[0] += requirement["met"]
            counts[1] += 1
    return values


def _of_category(row: dict[str, Any]) -> dict[str, list[int]]:
    has_value = row["category"] and "drfr" in row["values"]
    return {row["category"]: row["values"]["drfr"]} if has_value else {}


def _ratios(values: Sequence[dict[str, list[int]]]) -> dict[str, Estimate]:
    """Each metric over the instructions that have it: overall, then levels, then kinds."""
    names = dict.fromkeys(name for row in values for name in row)
    order = ["drfr", "drfr, easy", "drfr, hard"]
    ordered = sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))
    return {name: _ratio([row[name] for row in values if name in row]) for name in ordered}


def _ratio(pairs: Sequence[Sequence[int]]) -> Estimate:
    return estimate_ratio([met for met, _ in pairs], [judged for _, judged in pairs])
