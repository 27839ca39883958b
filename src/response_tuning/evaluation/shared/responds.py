"""Does a response do what was asked? Judged against a reference, without a judge and offline.

A response counts if

    no guard speaks against it    it is empty, loops, invents turns, copies, only asks, evades, or strings together
                                  words of its instruction (``checks.guards``, ``text_measures.copies``)
    it has the reference's form   code for code, a letter for a letter (``forms``)
    it is about the same          its similarity to the reference, by sentence embedding, is above a threshold

Without a reference nothing here can tell: likelihoods and similarity to the instruction agree with labels at chance.
"""

from collections.abc import Sequence

from response_tuning.evaluation.checks.contract import Reading
from response_tuning.evaluation.checks.guards import failed_guards
from response_tuning.evaluation.shared.forms import other_forms
from response_tuning.evaluation.shared.relevance import row_similarities
from response_tuning.evaluation.shared.text_measures import copies

__all__ = ["reasons_against", "responds"]

_SIMILAR_TO_REFERENCE = 0.2
"""The smallest cosine similarity to the reference of a response that counts. It keeps out responses to other
instructions; on the labels of ``data/calibration`` for choosing (``rt eval agreement calibration-choosing --measure
responds``) any value from 0 to 0.25 agrees alike."""


def responds(
    instructions: Sequence[str], responses: Sequence[str], references: Sequence[str | None]
) -> list[bool | None]:
    """Whether each response does what was asked, right or wrong; None where there is no reference."""
    similarities = row_similarities(responses, [reference or "" for reference in references])
    return [
        None
        if reference is None
        else similarity >= _SIMILAR_TO_REFERENCE and not reasons_against(instruction, response, reference)
        for instruction, response, reference, similarity in zip(
            instructions, responses, references, similarities, strict=True
        )
    ]


def reasons_against(instruction: str, response: str, reference: str) -> list[str]:
    """The guards that the response fails, and the forms of the reference that it lacks; similarity aside."""
    reasons = failed_guards(Reading(instruction, response))
    if copies(instruction, response) and not copies(instruction, reference):
        reasons.append("copies")
    return reasons + other_forms(instruction, response, reference)
