"""The probe's verdicts on responses, without a judge."""

from collections.abc import Sequence
from typing import NamedTuple

from response_tuning.asking.ask import Failure
from response_tuning.evaluation.shared.relevance import instruction_ranks
from response_tuning.evaluation.shared.responds import responds
from response_tuning.evaluation.shared.text_measures import copies, loops
from response_tuning.inference.generate import Response

__all__ = ["ResponseVerdicts", "response_verdicts"]


class ResponseVerdicts(NamedTuple):
    """The verdicts on one response."""

    instruction_rank: int
    """The rank of its instruction, from 1, by similarity to the response (``relevance.instruction_ranks``)."""
    by_name: dict[str, bool]
    """Whether it stops, loops, copies, is on topic, and responds, as ``probe`` defines them. ``responds`` is missing
    where there is no reference: nothing here can tell without one."""


def response_verdicts(
    instructions: Sequence[str], responses: Sequence[Response | Failure], references: Sequence[str | None]
) -> list[ResponseVerdicts]:
    """The verdicts on each response to the instruction at its position; a failure counts as an empty response.

    Args:
        instructions: what was asked.
        responses: one per instruction.
        references: a good response to each instruction, or None.
    """
    given = [Response("", 0, stopped=False) if isinstance(each, Failure) else each for each in responses]
    texts = [response.text for response in given]
    ranks = instruction_ranks(instructions, texts)
    responding = responds(instructions, texts, references)
    return [
        ResponseVerdicts(rank, _by_name(instruction, response, rank, does_respond))
        for instruction, response, rank, does_respond in zip(instructions, given, ranks, responding, strict=True)
    ]


def _by_name(instruction: str, response: Response, instruction_rank: int, does_respond: bool | None) -> dict[str, bool]:
    verdicts = {
        "stops": response.stopped,
        "loops": loops(response.text),
        "copies": copies(instruction, response.text),
        "on_topic": instruction_rank == 1,
    }
    return verdicts if does_respond is None else verdicts | {"responds": does_respond}
