"""A response up to the first turn that it invents: how a user of a base model reads it."""

import re

from response_tuning.conversation import FORMATS
from response_tuning.evaluation.shared.text_measures import invented_turn
from response_tuning.inference.generate import Response

__all__ = ["cut_at_turn"]


def cut_at_turn(response: Response, format_name: str | None) -> Response:
    """The response without what follows the first turn marker of its own chat format.

    A response that is cut counts as stopped: a program would have stopped there. Without a known format, the marker is
    any that ``text_measures.invented_turn`` knows ("Question:", "User:" and the like).
    """
    own = next((known for name, known in FORMATS.items() if name == format_name), None)
    if own is None:
        place = invented_turn(response.text)
    else:
        markers = "|".join(re.escape(marker.strip()) for marker in (own.before_instruction, own.assistant_header))
        found = re.search(rf"(?:^|\n)[ \t]*(?:{markers})", response.text)
        place = found.start() if found else None
    if place is None:
        return response
    return Response(response.text[:place].strip(), response.token_count, stopped=True)
