"""A model in this process as a model of Inspect AI: batched, greedy, and encoded as everywhere else here.

Inspect's own provider for local models tokenizes the rendered text again, pads with the end token and reports every
answer as finished. This one takes its ids from ``Conversation`` and reports which answers reached the limit.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Literal

import anyio
from anyio import to_thread
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    get_model,
    modelapi,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from response_tuning.example import Turn
from response_tuning.inference.generate import Response, generate_batch
from response_tuning.inference.responder import PromptTooLongError
from response_tuning.runs.load import load_responder
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["open_local_model"]

_PROVIDER = "response-tuning"
_DEFAULT_MAX_TOKENS = 512
# How long the first question of a batch waits for others.
_GATHERING_SECONDS = 0.02


def open_local_model(
    spec: str,
    *,
    batch_size: int,
    format_name: FormatName | Literal["auto"] = "auto",
    dtype: Dtype = "auto",
    device: Device = "auto",
    as_assistant: bool = True,
) -> Model:
    """Load a run or any other model in this process as a judge or a refiner.

    Args:
        spec: a model spec, of any kind but a provider's.
        batch_size: questions answered at once.
        format_name: the chat format; "auto" as in ``runs.formats.resolve_format``, for an assistant.
        dtype: of the weights.
        device: where to compute.
        as_assistant: whether "auto" prefers the model's own chat template, as for a judge; a model that is measured is
            asked as evaluations ask it.

    Raises:
        UserError: there is no such model.
    """
    return get_model(
        f"{_PROVIDER}/{spec}",
        memoize=False,
        batch_size=batch_size,
        format_name=format_name,
        dtype=dtype,
        device=device,
        as_assistant=as_assistant,
    )


@dataclass
class _Question:
    prompt: list[int]
    limit: int
    response: Response | None = None


@modelapi(name=_PROVIDER)
class _LocalModel(ModelAPI):
    """Concurrent questions are answered in one batch."""

    def __init__(
        self,
        model_name: str,
        *,
        batch_size: int,
        format_name: FormatName | Literal["auto"],
        dtype: Dtype,
        device: Device,
        as_assistant: bool,
        **_others: object,
    ) -> None:
        super().__init__(model_name=model_name)
        self._responder = load_responder(
            model_name,
            format_name,
            dtype=dtype,
            device=device,
            as_assistant=as_assistant,
            purpose="Judging or refining" if as_assistant else "Answering in conversations",
        )
        self._batch_size = batch_size
        self._waiting: list[_Question] = []
        self._lock = anyio.Lock()

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 - Inspect's name
        tools: list[ToolInfo],  # noqa: ARG002
        tool_choice: ToolChoice,  # noqa: ARG002
        config: GenerateConfig,
    ) -> ModelOutput:
        """Answer one conversation, in a batch with the others that are waiting."""
        begin = monotonic()
        question = _Question(self._prompt_ids(input), config.max_tokens or _DEFAULT_MAX_TOKENS)
        try:
            self._responder.require_fit([question.prompt])
        except PromptTooLongError as error:  # in Inspect's form, as a server refuses
            return ModelOutput.from_content(self.model_name, str(error.named("The question")), "model_length")
        self._waiting.append(question)
        async with self._lock:
            if question.response is None:
                await anyio.sleep(_GATHERING_SECONDS)
                await self._answer_next_batch(question)
        assert question.response is not None
        return _output(self.model_name, question, seconds=monotonic() - begin)

    def max_connections(self) -> int:
        """One batch: while it is computed, the next one gathers."""
        return self._batch_size

    async def _answer_next_batch(self, first: _Question) -> None:
        others = [question for question in self._waiting if question is not first]
        batch = [first, *others[: self._batch_size - 1]]
        self._waiting = others[self._batch_size - 1 :]
        cancelled = threading.Event()

        def compute() -> list[Response]:
            return generate_batch(
                self._responder,
                [question.prompt for question in batch],
                [question.limit for question in batch],
                is_cancelled=cancelled.is_set,
            )

        try:
            responses = await to_thread.run_sync(compute, abandon_on_cancel=True)
        finally:
            cancelled.set()  # an interruption does not wait for the batch
        for question, response in zip(batch, responses, strict=True):
            question.response = response

    def _prompt_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        """System messages are placed as in training; those within a conversation head the next user's turn."""
        turns: list[Turn] = []
        first = system = ""
        for message in messages:
            if isinstance(message, ChatMessageSystem) and not turns:
                first = f"{first}{message.text}\n\n"
            elif isinstance(message, ChatMessageSystem):
                system = f"{system}{message.text}\n\n"
            elif isinstance(message, ChatMessageUser):
                turns.append(Turn(role="user", content=system + message.text))
                system = ""
            elif isinstance(message, ChatMessageAssistant):
                turns.append(Turn(role="assistant", content=message.text))
        *earlier, last = turns
        conversation = self._responder.conversation
        return conversation.prompt_ids(last.content, earlier, system=first.removesuffix("\n\n") or None)


def _output(model_name: str, question: _Question, *, seconds: float) -> ModelOutput:
    assert question.response is not None
    response = question.response
    output = ModelOutput.from_content(
        model_name, response.text, stop_reason="stop" if response.stopped else "max_tokens"
    )
    output.usage = ModelUsage(
        input_tokens=len(question.prompt),
        output_tokens=response.token_count,
        total_tokens=len(question.prompt) + response.token_count,
    )
    output.time = seconds
    return output
