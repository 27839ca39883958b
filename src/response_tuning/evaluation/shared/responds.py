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
from response_tuning.evaluation.checks.text import content_words
from response_tuning.evaluation.shared.forms import other_forms
from response_tuning.evaluation.shared.relevance import row_similarities
from response_tuning.evaluation.shared.text_measures import copies, repeats_little

__all__ = ["reasons_against", "responds"]

_SIMILAR_TO_REFERENCE = 0.2
"""The smallest cosine similarity to the reference of a response that counts. It keeps out responses to other
instructions; on the labels of ``data/calibration`` for choosing (``rt eval agreement calibration-choosing --measure
responds``) any value from 0 to 0.25 agrees alike."""

_TAKEN_ALIKE = 0.75
_MOST_OF_INSTRUCTION = 0.9


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
    reading = Reading(instruction, response)
    reasons = [name for name in failed_guards(reading) if name != "loops" or not repeats_little(response)]
    if copies(instruction, response) and not _is_taken_from(instruction, response, reference):
        reasons.append("copies")
    if not reading.added and not _is_taken_from(instruction, response, reference):
        reasons.append("nothing new")
    return reasons + other_forms(instruction, response, reference)


def _is_taken_from(instruction: str, response: str, reference: str) -> bool:
    """Whether the words that a response takes from its instruction are those that the reference takes.

    An extract, a label or a value is copied; a random part of the instruction is not what the reference copies.
    """
    asked, given = set(content_words(instruction)), set(content_words(reference))
    taken = set(content_words(response)) & asked
    return len(taken & given) >= _TAKEN_ALIKE * len(taken) and len(taken) < len(asked) * _MOST_OF_INSTRUCTION
