"""A run that is served: a name, weights that it may share with others, and how it is asked."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from transformers import GenerationConfig

from response_tuning.conversation import Conversation
from response_tuning.example import Turn
from response_tuning.inference.responder import Responder
from response_tuning.models.switching import SwitchableModel
from response_tuning.serving.messages import leading_system, turns_of

__all__ = ["ServedRun"]

_TOKENIZING = threading.Lock()
"""A fast tokenizer fails where one thread changes its options while another uses it, and runs may share one."""


@dataclass(frozen=True)
class ServedRun:
    """One of the runs that a server or a chat answers with."""

    name: str
    """What clients call it."""
    spec: str
    """The model spec that it was loaded by."""
    responder: Responder
    """How it is asked."""
    weights: SwitchableModel
    """Shared by all runs with the same base model."""
    adapter: str | None = None
    """The adapter of ``weights`` that makes it this run."""

    @property
    def conversation(self) -> Conversation:
        """The run's chat format."""
        return self.responder.conversation

    @property
    def context(self) -> int | None:
        """The most tokens of a prompt and a response together; None for a model without a limit."""
        return self.responder.context

    @property
    def generation_config(self) -> GenerationConfig:
        """Greedy, ended by the stop tokens of the run."""
        stop_ids = self.conversation.stop_token_ids
        pad = getattr(self.weights.model.config.get_text_config(), "pad_token_id", None)
        return GenerationConfig(
            do_sample=False, eos_token_id=stop_ids, pad_token_id=stop_ids[-1] if pad is None else pad
        )

    def activate(self) -> None:
        """Make the shared weights those of this run. Only for whoever holds them."""
        self.weights.activate(self.adapter)

    def prompt_ids(self, turns: Sequence[Turn], *, system: str | None = None) -> list[int]:
        """The prompt of a dialogue whose last turn is the user's, after a system message if there is one."""
        *earlier, last = turns
        with _TOKENIZING:
            return self.conversation.prompt_ids(last.content, earlier, system=system)

    def ids_of_messages(self, messages: object) -> list[int]:
        """The prompt of messages as a request has them, the last of which is the user's.

        Raises:
            ValueError: as ``turns_of``.
        """
        system, rest = leading_system(messages) if self.conversation.system_role else (None, messages)
        return self.prompt_ids(turns_of(rest), system=system)

    def text_ids(self, text: str) -> list[int]:
        """The ids of a text as it is, without the chat format; with BOS where the tokenizer adds it."""
        with _TOKENIZING:
            ids: list[int] = self.conversation.tokenizer(text).input_ids
        return ids

    def decode(self, ids: list[int]) -> str:
        """The text of ids without special tokens, not stripped."""
        with _TOKENIZING:
            return self.conversation.generated_text(ids)

    def token_text(self, token_id: int) -> str:
        """One token as text, special ones included."""
        with _TOKENIZING:
            text = self.conversation.tokenizer.decode([token_id])
        assert isinstance(text, str)
        return text
