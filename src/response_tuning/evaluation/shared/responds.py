"""Does a response do what was asked? Judged against a reference, without a judge and offline.

A response counts if

    no guard speaks against it    it is empty, loops, invents turns, copies, only asks, evades, or strings together
                                  words of its instruction (``checks.guards``, ``text_measures.copies``)
    it has the reference's form   code for code, a letter for a letter (``forms``)
    it is about the same          its mean similarity to reference and instruction, by sentence embedding, reaches a
                                  threshold

Without a reference nothing here can tell: likelihoods and similarity to the instruction agree with labels at chance.
"""

import re
from collections.abc import Sequence

from response_tuning.evaluation.checks.check_contract import Reading
from response_tuning.evaluation.checks.guards import failed_guards
from response_tuning.evaluation.checks.text import content_words, words
from response_tuning.evaluation.shared.forms import other_forms
from response_tuning.evaluation.shared.relevance import row_similarities
from response_tuning.evaluation.shared.text_measures import copies, repeats_little

__all__ = ["reasons_against", "responds"]

_SIMILAR = 0.5
"""The smallest mean of the cosine similarities to reference and instruction of a response that counts. It keeps out
responses to other instructions: with 0.5 no reference of another row passes, with 0.35 up to 6% where both rows ask for
the same kind of text. Of the thresholds that keep out 95%, on either similarity, their mean, minimum or maximum, it
agrees best with the labels for choosing (``rt eval agreement calibration-choosing --measure responds``)."""
_TAKEN_ALIKE = 0.75
_MOST_OF_INSTRUCTION = 0.9
_SHORT = 3
"""A response of at most three words has too little text for an embedding."""


def responds(
    instructions: Sequence[str], responses: Sequence[str], references: Sequence[str | None]
) -> list[bool | None]:
    """Whether each response does what was asked, right or wrong; None where there is no reference."""
    rows = list(zip(instructions, responses, references, strict=True))
    verdicts = [
        None if reference is None else not reasons_against(instruction, response, reference)
        for instruction, response, reference in rows
    ]
    unsure = [place for place, row in enumerate(rows) if verdicts[place] and not _is_short_answer(row[1], row[2] or "")]
    texts = [rows[place][1] for place in unsure]
    to_reference = row_similarities(texts, [rows[place][2] or "" for place in unsure])
    to_instruction = row_similarities(texts, [rows[place][0] for place in unsure])
    for place, *similarities in zip(unsure, to_reference, to_instruction, strict=True):
        verdicts[place] = sum(similarities) / 2 >= _SIMILAR
    return verdicts


def _is_short_answer(response: str, reference: str) -> bool:
    """Whether it is a few of the reference's words, or a number where the reference has one."""
    own, given = words(response), set(words(reference))
    has_digit = re.compile(r"\d").search
    return len(own) <= _SHORT and (set(own) <= given or bool(has_digit(response) and has_digit(reference)))


def reasons_against(instruction: str, response: str, reference: str) -> list[str]:
    """The guards that the response fails, and the forms of the reference that it lacks; similarity aside."""
    # Whether it stopped is not known here, so a response that repeats itself gets no credit for it.
    reading = Reading(instruction, response, stopped=False)
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
