"""One response in the making: what was asked for, what has come so far, and who is told."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from response_tuning.inference.sampling import Sampling, TokenScores
from response_tuning.inference.text_stream import EndRule, TextStream
from response_tuning.serving.served_run import ServedRun

__all__ = ["Event", "Failed", "Finished", "Job", "Piece"]

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Piece:
    """More of a response."""

    text: str
    tokens: tuple[TokenScores, ...] = ()
    """The tokens since the last piece, if their log-probabilities were asked for."""


@dataclass(frozen=True)
class Finished:
    """The last event of a response."""

    reason: FinishReason
    """stop: by a stop token, a stop string or the run's rule. length: by the limit on new tokens."""
    token_count: int
    """Generated tokens, including the stop token."""


@dataclass(frozen=True)
class Failed:
    """The last event of a response that could not be finished."""

    message: str


Event = Piece | Finished | Failed


@dataclass(eq=False)
class Job:
    """A prompt and what becomes of it. Tokens are added in the engine's threads; ``cancel`` is for any thread."""

    run: ServedRun
    prompt_ids: list[int]
    limit: int
    """The most new tokens."""
    tell: Callable[[Event], None]
    """Called with each event, in a thread of the engine."""
    sampling: Sampling = field(default_factory=Sampling)
    stops: Sequence[str] = ()
    scored: int | None = None
    """How many of the likeliest tokens are reported with each token; None reports no log-probabilities."""
    rule: EndRule | None = None
    """Ends the response as well, where the run has such a rule."""
    is_done: bool = False
    _count: int = 0
    _unsent: list[TokenScores] = field(default_factory=list)
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._stop_ids = frozenset(self.run.conversation.stop_token_ids)
        self._stream = TextStream(self.run.decode, self.stops, self.rule)

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the response any more."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Stop at the next token. No event follows."""
        self._cancelled.set()

    def add(self, token_id: int, scores: TokenScores | None) -> None:
        """Take the next generated token; ``is_done`` afterwards if it is the last."""
        self._count += 1
        if scores is not None:
            self._unsent.append(scores)
        ended = token_id in self._stop_ids
        text = "" if ended else self._stream.add(token_id)
        if not ended and self._stream.is_stopped:
            ended = True
        is_last = ended or self._count >= self.limit
        if is_last:
            text += self._stream.finish()
        if text or (is_last and self._unsent):
            self.tell(Piece(text, tuple(self._unsent)))
            self._unsent.clear()
        if is_last:
            self._end(Finished("stop" if ended or self._stream.is_stopped else "length", self._count))

    def fail(self, message: str) -> None:
        """End without a response."""
        self._end(Failed(message))

    def _end(self, event: Event) -> None:
        if not self.is_done:
            self.is_done = True
            self.tell(event)
