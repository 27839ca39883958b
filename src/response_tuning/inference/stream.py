"""Print a response while it is generated: whole words, and never a text that turns out to end the response."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from transformers.generation.streamers import BaseStreamer

from response_tuning.inference.responder import Responder

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TextStream"]

_INCOMPLETE = "\ufffd"
"""What a tokenizer decodes the first bytes of a character to."""


class TextStream(BaseStreamer):
    """Receives token ids from ``generate_batch`` and passes on text, in pieces that together are the response's text.

    Args:
        responder: decodes ids, and knows what ends a response.
        write: receives each piece.
    """

    def __init__(self, responder: Responder, write: Callable[[str], object]) -> None:
        self._responder = responder
        self._write = write
        self._ids: list[int] = []
        self._written = 0
        self._is_prompt = True

    def put(self, value: "Tensor") -> None:
        """Receive the prompt, which is not printed, and then each token."""
        if self._is_prompt:
            self._is_prompt = False
            return
        self._ids += value.flatten().tolist()
        text = self._text()
        rule = self._responder.stops
        settled = text if rule is None else text[: rule.settled(text)]
        self._pass_on(settled.rstrip() if not settled.endswith(_INCOMPLETE) else settled.rstrip(_INCOMPLETE).rstrip())

    def end(self) -> None:
        """Pass on what was held back, less what ended the response."""
        rule = self._responder.stops
        self._pass_on(self._text().strip() if rule is None else rule.cut(self._text())[0])

    def _text(self) -> str:
        """The text so far, without the white space before it."""
        return self._responder.conversation.generated_text(self._ids).lstrip()

    def _pass_on(self, text: str) -> None:
        if len(text) > self._written:
            self._write(text[self._written :])
            self._written = len(text)
