"""The text of a response while its tokens arrive, in pieces that together are the whole text."""

from collections.abc import Callable, Sequence
from typing import Protocol

__all__ = ["EndRule", "TextStream"]

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"


class EndRule(Protocol):
    """Where a response in plain text ends, for models that end none with a stop token."""

    def end(self, text: str, *, complete: bool = False) -> int | None:
        """The number of characters before what ends the response; None if nothing does so far."""
        ...

    def settled(self, text: str) -> int:
        """The number of characters that are the response's whatever follows."""
        ...


class TextStream:
    """Turns token ids into text, piece by piece.

    The pieces together equal the decoded and stripped text of all tokens, as every other command shows it. So what may
    still change is held back: an incomplete character, whitespace that may be the last, and what may begin a stop
    string.

    Args:
        decode: from token ids to text, without special tokens; not stripped.
        stops: texts that end the response; the first of them and what follows are no part of it.
        rule: ends the response as well, where the run has such a rule.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], stops: Sequence[str] = (), rule: EndRule | None = None
    ) -> None:
        self._decode, self._stops, self._rule = decode, tuple(stops), rule
        self._ids: list[int] = []
        self._sent = ""
        self.is_stopped = False
        """Whether a stop string has come."""

    def add(self, token_id: int) -> str:
        """The text that has become certain with one more token; often empty."""
        self._ids.append(token_id)
        text = self._decode(self._ids)
        end = self._end(text, complete=False)
        if end is not None:
            self.is_stopped = True
            return self._advance_to(text[:end].strip())
        certain = text.rstrip(_INCOMPLETE)
        certain = certain[: len(certain) - self._held_back(certain)]
        if self._rule is not None:
            certain = certain[: self._rule.settled(text)]
        return self._advance_to(certain.strip())

    def finish(self) -> str:
        """The rest of the text, once the last token has come."""
        if self.is_stopped:
            return ""
        text = self._decode(self._ids)
        end = self._end(text, complete=True)
        self.is_stopped = end is not None
        return self._advance_to(text[:end].strip())

    @property
    def text(self) -> str:
        """All pieces so far."""
        return self._sent

    def _advance_to(self, text: str) -> str:
        if not text.startswith(self._sent):
            return ""  # a decoder that changed what it decoded before: the rest comes with the next piece that fits
        piece = text[len(self._sent) :]
        self._sent = text
        return piece

    def _end(self, text: str, *, complete: bool) -> int | None:
        """The number of characters before the first thing that ends the response."""
        ends = [place for stop in self._stops if (place := text.find(stop)) >= 0]
        ruled = None if self._rule is None else self._rule.end(text, complete=complete)
        return min([*ends, *([] if ruled is None else [ruled])], default=None)

    def _held_back(self, text: str) -> int:
        """The length of the longest end of ``text`` that a stop string begins with."""
        longest = max((len(stop) - 1 for stop in self._stops), default=0)
        lengths = range(min(longest, len(text)), 0, -1)
        return next((n for n in lengths if any(stop.startswith(text[-n:]) for stop in self._stops)), 0)
