"""The kind of run that training makes: weights in this process. A base model is one that was not trained here."""

from collections.abc import Sequence
from dataclasses import dataclass

from response_tuning.conversation import Conversation
from response_tuning.example import Example
from response_tuning.inference.generate import Response, generate_responses
from response_tuning.inference.score import log_likelihoods
from response_tuning.models.load import LoadedModel

__all__ = ["TrainedRun"]

_SCORED_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class TrainedRun:
    """A model in this process with its chat format: a ``Run``."""

    spec: str
    loaded: LoadedModel
    conversation: Conversation

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int = 256, batch_size: int = 16) -> list[Response]:
        """Greedy responses to ``prompts``, in their order (``Run.generate``)."""
        responses: dict[int, Response] = {}
        for batch in generate_responses(
            self.loaded, self.conversation, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size
        ):
            responses |= batch
        return [responses[index] for index in range(len(prompts))]

    def score(self, prompts: Sequence[str | None], completions: Sequence[str]) -> list[float]:
        """The log-likelihood [nats] of each completion given its prompt (``Run.score``)."""
        encoded = [
            self.conversation.encode(Example(prompt=prompt, completion=completion), "rt" if prompt is None else "it")
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return log_likelihoods(self.loaded, encoded, batch_tokens=_SCORED_BATCH_TOKENS)
