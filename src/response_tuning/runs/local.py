"""A run whose model is in this process: trained, in context or by rules, or a base model as it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from response_tuning.example import Example
from response_tuning.inference.generate import Response, generate_responses
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import log_likelihoods
from response_tuning.runs.contract import Run
from response_tuning.support.errors import UserError
from response_tuning.support.progress import Bar

__all__ = ["LocalRun", "answer_in_batches", "lengths_of", "responder_of", "score_examples"]

_SCORED_BATCH_TOKENS = 2048


@dataclass(frozen=True)
class LocalRun:
    """A model in this process and how it is asked: a ``Run``. The kinds of run differ in their ``responder`` alone."""

    spec: str
    responder: Responder

    def generate(self, prompts: Sequence[str], *, max_new_tokens: int = 256, batch_size: int = 16) -> list[Response]:
        """Greedy responses to ``prompts``, in their order (``Run.generate``)."""
        responses: dict[int, Response] = {}
        for batch in answer_in_batches(self, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size):
            responses |= batch
        return [responses[index] for index in range(len(prompts))]

    def score(self, prompts: Sequence[str | None], completions: Sequence[str]) -> list[float]:
        """The log-likelihood [nats] of each completion given its prompt (``Run.score``)."""
        pairs = zip(prompts, completions, strict=True)
        return self._score_examples([Example(prompt=prompt, completion=completion) for prompt, completion in pairs])

    def _score_examples(self, examples: Sequence[Example], bar: Bar | None = None) -> list[float]:
        encode = self.responder.conversation.encode
        encoded = [encode(example, "rt" if example.prompt is None else "it") for example in examples]
        return log_likelihoods(self.responder, encoded, batch_tokens=_SCORED_BATCH_TOKENS, bar=bar)


def answer_in_batches(
    run: Run, prompts: Sequence[str], *, max_new_tokens: int, batch_size: int
) -> Iterator[dict[int, Response]]:
    """The responses of a run of any kind; yields each batch when it is complete, by the prompt's index.

    Raises:
        PromptTooLongError: a prompt does not fit the model's context; before any is answered.
    """
    if isinstance(run, LocalRun):
        yield from generate_responses(run.responder, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size)
        return
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        responses = run.generate(batch, max_new_tokens=max_new_tokens, batch_size=batch_size)
        yield dict(enumerate(responses, start))


def score_examples(run: Run, examples: Sequence[Example], *, bar: Bar | None = None) -> list[float]:
    """The log-likelihood [nats] of each example's completion, after its earlier turns and its prompt if it has any.

    A run of a kind from elsewhere is given the prompt alone.
    """
    if isinstance(run, LocalRun):
        return run._score_examples(examples, bar)
    scores = run.score([example.prompt for example in examples], [example.completion for example in examples])
    if bar is not None:
        bar.advance(len(examples))
    return scores


def lengths_of(run: Run, completions: Sequence[str]) -> list[int]:
    """What the log-likelihood of each completion is divided by for its mean: its tokens, with what ends it.

    A run without a tokenizer in this process is measured by character.
    """
    if isinstance(run, LocalRun):
        return [len(run.responder.conversation.response_ids(completion)) for completion in completions]
    return [max(1, len(completion)) for completion in completions]


def responder_of(run: Run, *, purpose: str) -> Responder:
    """What a run answers with, for what needs its model and not only its answers.

    Args:
        run: of any kind.
        purpose: what needs it, as the beginning of a sentence.

    Raises:
        UserError: the run only answers and scores, as a kind of run from another package may.
    """
    if isinstance(run, LocalRun):
        return run.responder
    raise UserError(f"{purpose} needs a model in this process, and {run.spec} is a {type(run).__name__}.")
