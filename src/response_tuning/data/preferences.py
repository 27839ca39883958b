"""Preference pairs: rows of a response and one that is worse, as examples to train on.

A row is an example with a field ``rejected`` beside its ``completion``: a text, a message, a list of messages of which
the last counts, or a transcript of Anthropic's HH-RLHF. What a layout calls ``chosen`` the readers of ``data.sources``
have made the ``completion``.
"""

from collections.abc import Sequence

from response_tuning.example import Example
from response_tuning.support.errors import UserError
from response_tuning.support.records import json_type, preview

__all__ = ["is_desirable", "mismatched", "paired", "rejected_response"]

_ANSWER = "\n\nAssistant:"
_TEXTS = ("content", "value", "text")


def paired(examples: Sequence[Example], *, source: str) -> list[Example]:
    """Two examples for each: the row with its own response, then the same with the rejected one.

    Raises:
        UserError: a row has no rejected response, or it is that of the row itself.
    """
    pairs: list[Example] = []
    for number, example in enumerate(examples, start=1):
        try:
            rejected = rejected_response(example)
        except ValueError as error:
            raise UserError(
                f"{source}: row {number} {error}. Preference tuning needs rows of a 'prompt' (or none, with --method "
                "rt), a 'completion' and a 'rejected' response."
            ) from None
        pairs += [example, example.model_copy(update={"completion": rejected})]
    return pairs


def rejected_response(example: Example) -> str:
    """The text of the rejected response.

    Raises:
        ValueError: there is none, or it is the same as the completion.
    """
    value = (example.model_extra or {}).get("rejected")
    if value is None:
        raise ValueError("has no field 'rejected'")
    text = _text(value)
    if not text.strip():
        raise ValueError("has an empty field 'rejected'")
    if text == example.completion:
        raise ValueError("has the same text in 'completion' and 'rejected', which is no preference")
    return text


def is_desirable(example: Example) -> bool:
    """Whether the response is a good one: the field ``desirable``, which the readers of ``data.sources`` also make of
    TRL's ``label`` and LLaMA-Factory's ``kto_tag``.

    Raises:
        ValueError: it is not there, or it is not true or false.
    """
    value = (example.model_extra or {}).get("desirable")
    if value is None:
        raise ValueError("has no field 'desirable', which is true or false")
    if not isinstance(value, bool):
        raise ValueError(f"has a field 'desirable' that is not true or false but {preview(value)}")
    return value


def mismatched(examples: Sequence[Example], *, source: str) -> list[Example]:
    """Two examples for each: the row, then its prompt with the response of the next row (of the last, the first's).

    Raises:
        UserError: a row does not say whether its response is desirable, or all are of one kind.
    """
    kinds = set()
    for number, example in enumerate(examples, start=1):
        try:
            kinds.add(is_desirable(example))
        except ValueError as error:
            raise UserError(
                f"{source}: row {number} {error}. KTO needs rows of a 'completion' and whether it is 'desirable'."
            ) from None
    if len(kinds) == 1:
        raise UserError(
            f"{source}: every response is {'' if kinds.pop() else 'un'}desirable. KTO needs responses of both kinds."
        )
    others = [*examples[1:], *examples[:1]]
    return [
        row
        for example, other in zip(examples, others, strict=True)
        for row in (example, example.model_copy(update={"completion": other.completion}))
    ]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value.rpartition(_ANSWER)[2].strip() if value.startswith("\n\nHuman:") else value
    if isinstance(value, list) and value:
        return _text(value[-1])
    if isinstance(value, dict):
        texts = [text for name in _TEXTS if isinstance(text := value.get(name), str)]
        if texts:
            return texts[0]
    raise ValueError(f"has a field 'rejected' that is no response but {json_type(value)}: {preview(value)}")
