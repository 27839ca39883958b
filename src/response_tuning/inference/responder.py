"""What generating and scoring need of a run: a loaded model, and how it is asked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.inference.prefix_cache import PrefixCache, common_prefix
from response_tuning.inference.stops import StopRule
from response_tuning.models.context import context_of
from response_tuning.models.load import LoadedModel
from response_tuning.support.errors import UserError

if TYPE_CHECKING:
    from transformers import LogitsProcessor

__all__ = ["PromptTooLongError", "Responder"]


class PromptTooLongError(UserError):
    """A prompt, or a prompt and a given response, does not fit the model's context."""

    def __init__(self, index: int, tokens: int, limit: int, name: str | None = None) -> None:
        self.index, self.tokens, self.limit = index, tokens, limit
        super().__init__(
            f"{name or f'Prompt {index + 1}'} takes {tokens:,} tokens, which do not fit the model's context of "
            f"{limit:,} with a response. Shorten it, leave it out, or choose a model with a longer context."
        )

    def named(self, name: str) -> "PromptTooLongError":
        """The same error with the row's own name, such as ``row 7``, in place of the prompt's number."""
        return PromptTooLongError(self.index, self.tokens, self.limit, name)


@dataclass(frozen=True)
class Responder:
    """A model in this process and how it is asked: all that ``inference.generate`` and ``inference.score`` need.

    Every kind of run with a model in this process has one (``runs.local.LocalRun.responder``), and whatever asks for a
    response or a likelihood takes it from here, so a new kind of run is a new way to make a ``Responder``:

        trained      Responder(loaded, conversation)
        in context   Responder(loaded, Conversation(tokenizer, ChatFormat(preamble=...)), stops=StopRule())
        rules        dataclasses.replace(responder_of_base, processors=lambda prompts: [RuleProcessor(prompts)])
    """

    loaded: LoadedModel
    conversation: Conversation
    """Prompt ids, response ids and stop tokens. A prefix that all prompts share is part of them (``shared_prefix``)."""
    stops: StopRule | None = None
    """Where a response in plain text ends; None if only a stop token ends it."""
    processors: "Callable[[Sequence[list[int]]], list[LogitsProcessor]] | None" = None
    """Makes the logits processors of a batch from its prompts, which are not padded.

    They are called at each step with left-padded ids [rows, longest prompt + tokens so far] and logits
    [rows, vocabulary], and return logits. The response of each row begins at column ``max(map(len, prompts))``.
    ``score`` calls them for each token of a response in the same way, before the log-softmax.
    """

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt and a response together; None for a model without a limit."""
        return context_of(self.loaded.model.config)

    @cached_property
    def shared_prefix(self) -> list[int]:
        """The ids that every prompt begins with: BOS, preamble and demonstrations, up to the instruction."""
        return common_prefix([self.conversation.prompt_ids("Name a river."), self.conversation.prompt_ids("why?")])

    @cached_property
    def prefix_cache(self) -> PrefixCache:
        """Keys and values of ``shared_prefix``, computed at first use, shared by all prompts and batches."""
        return PrefixCache(self.loaded.model, self.shared_prefix)

    def processors_of(self, prompts: Sequence[list[int]]) -> "list[LogitsProcessor]":
        """The logits processors of a batch; none for most runs."""
        return [] if self.processors is None else self.processors(prompts)

    def require_fit(self, prompts: Sequence[list[int]]) -> None:
        """Require that each prompt leaves room for a token of a response.

        Raises:
            PromptTooLongError: the first one that does not.
        """
        limit = self.context
        for index, prompt in enumerate(prompts):
            if limit is not None and len(prompt) >= limit:
                raise PromptTooLongError(index, len(prompt), limit)

    def require_scored_fit(self, encoded: Sequence[EncodedExample]) -> None:
        """Require that each prompt fits with its response, as ``require_fit``."""
        limit = self.context
        for index, example in enumerate(encoded):
            if limit is not None and len(example.input_ids) > limit:
                raise PromptTooLongError(index, len(example.input_ids), limit)
