"""Does a response do what was asked? Judged against a reference, without a judge and offline.

A response counts if it is nearer to the reference than to the instruction, by sentence embedding, and no guard speaks
against it. Without a reference nothing here can tell: likelihoods and relevance agree with labels at chance.
"""

from collections.abc import Sequence

from response_tuning.evaluation.shared.relevance import row_similarities
from response_tuning.evaluation.shared.text_measures import copies, invented_turn, loops

__all__ = ["responds"]

_NEARER_TO_REFERENCE = 0.0
"""The smallest similarity to the reference minus similarity to the instruction of a response that counts."""


def responds(
    instructions: Sequence[str], responses: Sequence[str], references: Sequence[str | None]
) -> list[bool | None]:
    """Whether each response does what was asked, right or wrong; None where there is no reference."""
    to_reference = row_similarities(responses, [reference or "" for reference in references])
    to_instruction = row_similarities(responses, instructions)
    return [
        None
        if reference is None
        else own - asked >= _NEARER_TO_REFERENCE and not _is_guarded_against(instruction, response)
        for instruction, response, reference, own, asked in zip(
            instructions, responses, references, to_reference, to_instruction, strict=True
        )
    ]


def _is_guarded_against(instruction: str, response: str) -> bool:
    return (
        not response.strip() or loops(response) or copies(instruction, response) or invented_turn(response) is not None
    )
