"""The probe's verdicts on responses, without a judge."""

from collections.abc import Sequence
from typing import NamedTuple

from response_tuning.asking.ask import Failure
from response_tuning.evaluation.shared.relevance import instruction_ranks
from response_tuning.evaluation.shared.text_measures import echoes, repeats
from response_tuning.inference.generate import Response

__all__ = ["ResponseVerdicts", "response_verdicts"]

_NEAREST_FOR_AN_ANSWER = 5


class ResponseVerdicts(NamedTuple):
    """The verdicts on one response."""

    instruction_rank: int
    """The rank of its instruction, from 1, by similarity to the response (``relevance.instruction_ranks``)."""
    by_name: dict[str, bool]
    """Whether it stops, echoes, repeats, is relevant, and answers, as ``probe`` defines them."""


def response_verdicts(instructions: Sequence[str], responses: Sequence[Response | Failure]) -> list[ResponseVerdicts]:
    """The verdicts on each response to the instruction at its position; a failure counts as an empty response."""
    given = [Response("", 0, stopped=False) if isinstance(each, Failure) else each for each in responses]
    ranks = instruction_ranks(instructions, [response.text for response in given])
    return [
        ResponseVerdicts(rank, _by_name(instruction, response, rank))
        for instruction, response, rank in zip(instructions, given, ranks, strict=True)
    ]


def _by_name(instruction: str, response: Response, instruction_rank: int) -> dict[str, bool]:
    echo, loop = echoes(instruction, response.text), repeats(response.text)
    return {
        "stops": response.stopped,
        "echoes": echo,
        "repeats": loop,
        "relevant": instruction_rank == 1,
        "answers": response.stopped and not echo and not loop and instruction_rank <= _NEAREST_FOR_AN_ANSWER,
    }
