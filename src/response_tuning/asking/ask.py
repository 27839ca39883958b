"""Ask a language model many questions concurrently, and pass on each answer as it arrives.

Inspect AI provides the models, retries with backoff and timeouts. This module adds that every question gets exactly
one outcome, whatever a server sends, and that each outcome is available immediately.
"""

import re
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Literal

from response_tuning.asking.ask_options import AskOptions
from response_tuning.example import Turn
from response_tuning.models.spec import GRAMMAR, is_local, parse_spec
from response_tuning.support.errors import UserError
from response_tuning.support.extras import require_extra
from response_tuning.support.secrets import hide_secrets

if TYPE_CHECKING:
    from inspect_ai.model import Model, ModelOutput

__all__ = ["Answer", "Ending", "Failure", "OnOutcome", "Question", "ask_all", "open_model", "require_model_to_ask"]

_FAILURES_IN_A_ROW = 20
_DOUBTFUL_REFUSALS = 10
_REASON_CHARACTERS = 300
_NO_LIMIT = 10_000
"""For Inspect, which keeps a model's first limit for all later calls in a process; our workers are the limit."""
_LONGEST_PAUSE_SECONDS = 30
# The key, the account, the address or the model is wrong: no question would be answered.
_FATAL_STATUS = frozenset({401, 402, 404, 405, 407, 410})
# The server is busy or slow. Any other status from 400 on is about the question: too long, filtered, moderated.
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429})

Ending = Literal["finished", "truncated", "filtered"]
"""truncated: the answer reached the token limit. filtered: the provider withheld it."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question to a model."""

    key: str
    """Identifies it in a ledger."""
    text: str
    """The user's message; the last one, if ``earlier_turns`` precede it."""
    system: str | None = None
    earlier_turns: tuple[Turn, ...] = ()
    """The conversation before it, sent as messages of their own."""
    max_tokens: int
    expected_characters: int
    """The expected length of the answer, for the cost estimate."""
    earlier_keys: tuple[str, ...] = ()
    """Keys of the same question as earlier versions worded it."""


@dataclass(frozen=True)
class Answer:
    """The answer of a model."""

    text: str
    ending: Ending
    input_tokens: int | None
    output_tokens: int | None
    seconds: float


@dataclass(frozen=True)
class Failure:
    """Why there is no answer, after all retries."""

    reason: str
    is_refusal: bool = False
    """Whether the server refuses this very question, so that asking again would not help."""


OnOutcome = Callable[[Question, Answer | Failure], None]
"""Called once for each question as soon as its outcome is there."""


def open_model(options: AskOptions) -> "Model":
    """The model to ask: one in this process, or one of Inspect AI.

    Raises:
        UserError: there is no such model or provider, or its key or package is missing.
    """
    _require_inspect()
    from inspect_ai.model import GenerateConfig, get_model

    if is_local(options.model):
        from response_tuning.asking.local import open_local_model

        return open_local_model(options.model, batch_size=options.concurrency)
    try:
        return _without_own_retries(
            get_model(
                parse_spec(options.model).name,
                base_url=options.base_url,
                config=GenerateConfig(max_connections=_NO_LIMIT),
                memoize=False,
            )
        )
    # Each provider raises its own errors for a missing package, key or model.
    except Exception as error:
        # Without a cause: the library's own message may contain the key.
        raise UserError(f"The model {options.model!r} cannot be asked: {_one_line(error)} {GRAMMAR}") from None


def require_model_to_ask(options: AskOptions) -> None:
    """Check that a model can be asked, without asking or loading it: before hours of work whose result it is asked on.

    Raises:
        UserError: as ``open_model``.
    """
    _require_inspect()
    if not is_local(options.model):
        open_model(options)
        return
    from response_tuning.models.load import require_model

    require_model(options.model)


def _require_inspect() -> None:
    require_extra("inspect_ai", "inspect", purpose="Asking a model")


def _without_own_retries(model: "Model") -> "Model":
    """Let Inspect alone repeat requests: the clients of OpenAI's and Anthropic's kind would do so as well, unseen."""
    client, arguments = getattr(model.api, "client", None), getattr(model.api, "model_args", None)
    if client is not None and hasattr(client, "max_retries"):
        client.max_retries = 0
        if isinstance(arguments, dict):  # for the clients that it makes later
            arguments["max_retries"] = 0
    return model


def ask_all(model: "Model", questions: Sequence[Question], options: AskOptions, on_outcome: OnOutcome) -> None:
    """Ask all questions, longest first, and call ``on_outcome`` once for each as soon as its outcome arrives.

    A question that the server refuses is a failure of its own. As long as none was answered, refusals are held back:
    if the server refuses the longest and the shortest questions alike, the reason is a setting and no question.

    Raises:
        UserError: the server rejects the key or the model, fails many times in a row, or refuses all questions.
    """
    import anyio

    longest_first = sorted(questions, key=lambda question: -len(question.text))
    try:
        anyio.run(partial(_ask_all, model, longest_first, options, on_outcome))
    except BaseExceptionGroup as group:
        # The error of one worker arrives in a group with the cancellations of the others.
        errors, _ = group.split(Exception)
        raise (errors or group).exceptions[0] from group


async def _ask_all(model: "Model", questions: Sequence[Question], options: AskOptions, on_outcome: OnOutcome) -> None:
    import anyio

    waiting = deque(questions)  # shared by all workers: each question is taken once
    watch = _Watch(options.model, on_outcome)

    async def work() -> None:
        while waiting:
            question = waiting.pop() if watch.doubts else waiting.popleft()
            outcome = await _ask(model, question, options)
            watch.note(question, outcome, is_last=not waiting)

    async with model, anyio.create_task_group() as group:
        for _ in range(min(options.concurrency, len(questions))):
            group.start_soon(work)
    watch.pass_on_refusals()


class _Watch:
    """Passes outcomes on, and stops a job in which the server answers nothing."""

    def __init__(self, model: str, on_outcome: OnOutcome) -> None:
        self._model = model
        self._on_outcome = on_outcome
        self._refused: list[tuple[Question, Failure]] = []
        self._has_answered = False
        self._failures_in_a_row = 0

    @property
    def doubts(self) -> bool:
        """Whether the longest questions were refused, so that the shortest should be tried."""
        return not self._has_answered and len(self._refused) >= _DOUBTFUL_REFUSALS

    def note(self, question: Question, outcome: Answer | Failure, *, is_last: bool) -> None:
        """Pass an outcome on; a refusal once something was answered."""
        if isinstance(outcome, Answer):
            self._has_answered = True
            self.pass_on_refusals()
        elif outcome.is_refusal and not self._has_answered:
            self._refused.append((question, outcome))
            if len(self._refused) >= _FAILURES_IN_A_ROW and not is_last:
                raise UserError(
                    f"{self._model} refused to answer {len(self._refused)} times in a row, the longest and the "
                    f"shortest questions alike, the last time with: {outcome.reason} No row was spent on it: re-run "
                    "the command with the setting that the server names."
                )
            return
        self._on_outcome(question, outcome)
        is_failure = isinstance(outcome, Failure) and not outcome.is_refusal
        self._failures_in_a_row = self._failures_in_a_row + 1 if is_failure else 0
        if isinstance(outcome, Failure) and self._failures_in_a_row >= _FAILURES_IN_A_ROW and not is_last:
            raise UserError(
                f"{self._model} failed {self._failures_in_a_row} times in a row, the last time with: {outcome.reason} "
                "Finished answers are kept: when the server works again, re-run the command with --retry-errors."
            )

    def pass_on_refusals(self) -> None:
        """Pass on the refusals that were held back."""
        while self._refused:
            self._on_outcome(*self._refused.pop(0))


async def _ask(model: "Model", question: Question, options: AskOptions) -> Answer | Failure:
    """The outcome of one question.

    Inspect retries errors that it knows to be transient (busy, broken or slow servers). Others, such as a response
    that is cut off or empty, are retried here.
    """
    import anyio

    begin = monotonic()
    reason = ""
    for attempt in range(options.retries + 1):
        if attempt:
            await anyio.sleep(min(2.0 ** (attempt - 1), _LONGEST_PAUSE_SECONDS))
        try:
            output = await _generate(model, question, options)
        except Exception as error:  # every provider raises its own
            cause = _cause(error)
            status = getattr(cause, "status_code", None)
            if status in _FATAL_STATUS:
                # Without a cause: the library's own message may contain the key.
                raise UserError(f"{options.model} refuses to answer (status {status}): {_one_line(cause)}") from None
            reason = _one_line(cause)
            if isinstance(status, int) and 400 <= status < 500 and status not in _TRANSIENT_STATUS:
                return Failure(reason, is_refusal=True)
            if cause is not error:
                break  # Inspect has retried already
            continue
        if output.choices:
            return _answer(output, seconds=monotonic() - begin)
        reason = "The response was empty (no choices)."
    return Failure(reason)


async def _generate(model: "Model", question: Question, options: AskOptions) -> "ModelOutput":
    from inspect_ai.model import (
        ChatMessage,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        GenerateConfig,
    )

    sides = {"user": ChatMessageUser, "assistant": ChatMessageAssistant}
    messages: list[ChatMessage] = [sides[turn.role](content=turn.content) for turn in question.earlier_turns]
    messages.append(ChatMessageUser(content=question.text))
    if question.system is not None:
        messages.insert(0, ChatMessageSystem(content=question.system))
    return await model.generate(
        messages,
        config=GenerateConfig(
            temperature=0.0,
            max_tokens=question.max_tokens,
            max_retries=options.retries,
            attempt_timeout=options.timeout_seconds,
        ),
    )


def _answer(output: "ModelOutput", *, seconds: float) -> Answer | Failure:
    if output.usage is None and output.stop_reason in ("model_length", "content_filter"):
        # Inspect's form of an error that refuses the question; its text is the server's message.
        return Failure(_one_line_of(output.completion), is_refusal=True)
    ending: Ending = "finished"
    if output.stop_reason in ("max_tokens", "model_length"):
        ending = "truncated"
    elif output.stop_reason == "content_filter":
        ending = "filtered"
    usage = output.usage
    return Answer(
        _writable(output.completion),
        ending,
        usage.input_tokens if usage else None,
        usage.output_tokens if usage else None,
        round(seconds, 3),
    )


def _writable(text: str) -> str:
    """``text`` without lone surrogates, which JSON can carry and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _cause(error: Exception) -> BaseException:
    """The error of the last attempt, where all retries failed."""
    from tenacity import RetryError

    if isinstance(error, RetryError):
        return error.last_attempt.exception() or error
    return error


def _one_line(error: BaseException) -> str:
    """The message of an error on one line, without secrets and without the request that Inspect appends to some."""
    return _one_line_of(getattr(error, "provider_message", None) or str(error) or type(error).__name__)


def _one_line_of(message: str) -> str:
    words = " ".join(_MARKUP.sub("", hide_secrets(message)).split())
    return words if len(words) <= _REASON_CHARACTERS else words[:_REASON_CHARACTERS] + "..."


# Inspect marks up the names of variables in its messages.
_MARKUP = re.compile(r"\[/?(bold|blue|red|green|yellow|dim|link)[^\]]*\]")
