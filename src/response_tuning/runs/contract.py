"""What a run is: a way to answer, whatever is behind it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from response_tuning.inference.generate import Response

__all__ = ["Run"]


@runtime_checkable
class Run(Protocol):
    """A run that can be asked. Whatever can be asked of one kind of run can be asked of every kind.

    The smallest example, a kind of run that repeats the prompt:

        class EchoRun:
            def __init__(self, spec: str) -> None:
                self.spec = spec

            def generate(self, prompts, *, max_new_tokens=256, batch_size=16):
                return [Response(prompt, len(prompt.split()), stopped=True) for prompt in prompts]

            def score(self, prompts, completions):
                return [0.0 if prompt == completion else -math.inf for prompt, completion in zip(prompts, completions)]

        register_kind(RunKind("echo", recognises=lambda path: (path / "echo").exists(), load=load_echo))

    ``runs.registry`` says how a package registers one. A kind with a model in this process needs no class of its own:
    it makes an ``inference.responder.Responder``, and ``runs.local.LocalRun`` is its run, which whatever needs more
    than answers and scores (chat, serving, capabilities, ratings of its own responses) takes as well.
    """

    @property
    def spec(self) -> str:
        """The spec that it was loaded by."""
        ...

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int = 256, batch_size: int = 16) -> list[Response]:
        """Greedy responses to ``prompts``, in their order.

        Args:
            prompts: instructions, each answered independently of the others.
            max_new_tokens: the longest response, in tokens; one that reaches it has not ``stopped``.
            batch_size: prompts answered at once.
        """
        ...

    def score(self, prompts: Sequence[str | None], completions: Sequence[str]) -> list[float]:
        """The log-likelihood [nats] of each completion, its stop token included, given its prompt.

        Args:
            prompts: an instruction for each completion; None scores the response without one, after the prefix that
                response tuning trains it after.
            completions: the responses.

        Raises:
            ValueError: the two have different lengths.
        """
        ...
