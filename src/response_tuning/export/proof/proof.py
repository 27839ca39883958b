"""Proof that an exported model answers as its run does: the same prompt ids, and the same greedy tokens.

The run answers a few held-out instructions, one at a time, and records its most likely tokens at each step. The export
then answers the same ids. A different token counts as a near-tie if the run found that token nearly as likely. The
export continues from the run's token, so that every token of every answer is compared.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import LogitsProcessor, PreTrainedModel

from response_tuning.conversation import Conversation
from response_tuning.data.sources.load_examples import STARTER_HELD_OUT, load_examples
from response_tuning.example import Turn
from response_tuning.inference.responder import Responder
from response_tuning.models.chat_files import set_stop_tokens

__all__ = [
    "Continuation",
    "Engine",
    "Messages",
    "Proof",
    "Reference",
    "answer_greedily",
    "make_dialogue",
    "make_reference",
    "messages_of",
    "prove",
]

_KEPT_PER_STEP = 20


Messages = list[dict[str, Any]]
"""Messages as servers take them."""


@dataclass(frozen=True)
class Continuation:
    """The tokens that a model generated. Every stop token counts as the trained one."""

    token_ids: list[int]
    """Including the stop token, if it was generated."""
    log_probabilities: list[float | None]
    """Of each token, in nats; None where the engine returns none."""


@dataclass(frozen=True)
class Reference:
    """One instruction with the run's prompt and answer."""

    instruction: str
    prompt_ids: list[int]
    answer: Continuation
    likeliest: list[dict[int, float]]
    """Per step, the log-probabilities [nats] of the most likely tokens, by id."""


@dataclass(frozen=True)
class Engine:
    """A program that has loaded an exported model."""

    name: str
    render: Callable[[str | Messages], list[int]]
    """From an instruction, or messages, to prompt ids, by the exported chat template and tokenizer."""
    answer: Callable[[list[int], int], Continuation]
    """Continues ids greedily, by at most the given number of tokens."""


@dataclass(frozen=True)
class Proof:
    """How an exported file compares with the run."""

    file: str
    engine: str
    """What read the file."""
    prompts: int
    """Instructions, and one conversation with a system message and several turns."""
    same_prompt_ids: int
    """Prompts with identical ids."""
    tokens: int
    """Tokens that the run generated."""
    same_tokens: int
    """Tokens that the export also chose after the same tokens."""
    near_ties: int
    """Other choices of the export, which the run found nearly as likely."""
    largest_difference: float
    """Between the log-probabilities [nats] that run and export assign to the same token after the same tokens."""
    largest_gap: float
    """By how many nats the run preferred its own token to another choice of the export, at most."""
    tolerance: float
    """The upper bound of the last two [nats]."""

    @property
    def holds(self) -> bool:
        """Whether the export answers as the run does."""
        within = max(self.largest_difference, self.largest_gap) <= self.tolerance
        return self.same_prompt_ids == self.prompts and within

    def as_json(self) -> dict[str, Any]:
        """As written to ``export.json``."""
        return {**asdict(self), "holds": self.holds}

    def __str__(self) -> str:
        parted = f", {self.near_ties} near-ties" if self.near_ties else ""
        return (
            f"{self.file}, read by {self.engine}: {self.same_prompt_ids} of {self.prompts} prompts the same, "
            f"{self.same_tokens} of {self.tokens} greedy tokens the same{parted}; log-probabilities differ by at most "
            f"{self.largest_difference:.3f} nats (allowed: {self.tolerance:g})"
        )


def make_reference(responder: Responder, *, prompts: int, new_tokens: int) -> list[Reference]:
    """The run's answers to the first held-out starter instructions, ended by stop tokens alone."""
    model, stop_ids = responder.loaded.model, responder.conversation.stop_token_ids
    set_stop_tokens(model, stop_ids)
    references = []
    for example in load_examples(STARTER_HELD_OUT)[:prompts]:
        instruction = example.prompt or ""
        ids = responder.conversation.prompt_ids(instruction)
        answer, likeliest = answer_greedily(
            model, ids, new_tokens, stop_ids=stop_ids, processors=responder.processors_of([ids])
        )
        references.append(Reference(instruction, ids, answer, likeliest))
    return references


@torch.inference_mode()
def answer_greedily(
    model: PreTrainedModel,
    prompt_ids: list[int],
    new_tokens: int,
    *,
    stop_ids: Sequence[int],
    processors: Sequence[LogitsProcessor] = (),
) -> tuple[Continuation, list[dict[int, float]]]:
    """A model's answer to prompt ids, ended by its own generation config, and the most likely tokens of each step.

    ``stop_ids`` are the ids that count as a stop token in the result; they do not end the generation. ``processors``
    are the run's own logits processors: probabilities are those after them.
    """
    ids = torch.tensor([prompt_ids], device=model.device)
    output = model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        logits_processor=list(processors),
        return_dict_in_generate=True,
        output_scores=True,
    )
    tokens: list[int] = []
    log_probabilities: list[float | None] = []
    likeliest: list[dict[int, float]] = []
    for token, logits in zip(output.sequences[0, len(prompt_ids) :].tolist(), output.scores, strict=True):
        scores = logits[0].float().log_softmax(dim=-1)
        values, indices = scores.topk(min(_KEPT_PER_STEP, len(scores)))
        tokens.append(stop_ids[0] if token in stop_ids else token)
        log_probabilities.append(float(scores[token]))
        likeliest.append(_as_one_stop(dict(zip(indices.tolist(), values.tolist(), strict=True)), stop_ids))
    return Continuation(tokens, log_probabilities), likeliest


def messages_of(prompt: "str | Messages") -> Messages:
    """An instruction as messages."""
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def make_dialogue(conversation: Conversation) -> tuple[Messages, list[int]]:
    """Messages with a system message, several turns and a content as a part, and the prompt ids of training for them.

    One part: llama.cpp joins several by line breaks before any template sees them.
    """
    parts = [{"type": "text", "text": "And the sea?"}]
    messages: Messages = [
        {"role": "system", "content": "Answer in one sentence."},
        {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": "Air scatters blue light the most."},
        {"role": "user", "content": parts},
    ]
    question = Turn(role="user", content="Answer in one sentence.\n\nWhy is the sky blue?")
    answer = Turn(role="assistant", content="Air scatters blue light the most.")
    return messages, conversation.prompt_ids("And the sea?", [question, answer])


def prove(
    references: Sequence[Reference],
    engine: Engine,
    *,
    file: str,
    tolerance: float,
    dialogues: Sequence[tuple[Messages, list[int]]] = (),
) -> Proof:
    """Compare an export with the run's answers. An answer that clearly differs is not compared to its end.

    Args:
        references: the run's prompts and answers.
        engine: what has loaded the export.
        file: its name.
        tolerance: the largest difference [nats] that counts as none.
        dialogues: messages that are rendered and not answered, and the run's prompt ids for them.
    """
    rendered: list[tuple[str | Messages, list[int]]] = [
        *((reference.instruction, reference.prompt_ids) for reference in references),
        *dialogues,
    ]
    answers = [_compare(reference, engine, tolerance) for reference in references]
    return Proof(
        file=file,
        engine=engine.name,
        prompts=len(rendered),
        same_prompt_ids=sum(engine.render(prompt) == ids for prompt, ids in rendered),
        tokens=sum(len(reference.answer.token_ids) for reference in references),
        same_tokens=sum(len(answer.differences) for answer in answers),
        near_ties=sum(gap <= tolerance for answer in answers for gap in answer.gaps),
        largest_difference=max(difference for answer in answers for difference in [0.0, *answer.differences]),
        largest_gap=max(gap for answer in answers for gap in [0.0, *answer.gaps]),
        tolerance=tolerance,
    )


@dataclass(frozen=True)
class _Comparison:
    differences: list[float]
    """Per identical token, between its two log-probabilities [nats]; 0 where the engine returns none."""
    gaps: list[float]
    """Per different token, by how many nats the run preferred its own."""


def _compare(reference: Reference, engine: Engine, tolerance: float) -> _Comparison:
    own = reference.answer
    differences: list[float] = []
    gaps: list[float] = []
    step = 0
    while step < len(own.token_ids) and max([0.0, *gaps]) <= tolerance:
        other = engine.answer([*reference.prompt_ids, *own.token_ids[:step]], len(own.token_ids) - step)
        same = _common_length(own.token_ids[step:], other.token_ids)
        scores = zip(own.log_probabilities[step : step + same], other.log_probabilities[:same], strict=True)
        differences += [0.0 if theirs is None or ours is None else abs(ours - theirs) for ours, theirs in scores]
        step += same
        if step < len(own.token_ids):
            gaps.append(_gap(reference.likeliest[step], other.token_ids[same] if same < len(other.token_ids) else None))
            step += 1
    return _Comparison(differences, gaps)


def _gap(likeliest: dict[int, float], chosen: int | None) -> float:
    """By how many nats a run preferred its most likely token to ``chosen``; a lower bound if that was not recorded."""
    if chosen is None:  # the export ended where the run did not, and not by a stop token
        return float("inf")
    return max(likeliest.values()) - likeliest.get(chosen, min(likeliest.values()))


def _common_length(ours: list[int], theirs: list[int]) -> int:
    same = 0
    while same < min(len(ours), len(theirs)) and ours[same] == theirs[same]:
        same += 1
    return same


def _as_one_stop(likeliest: dict[int, float], stop_ids: Sequence[int]) -> dict[int, float]:
    """The same with every stop token counted as the first: which of them ends an answer makes no difference."""
    stops = [score for token, score in likeliest.items() if token in stop_ids]
    others = {token: score for token, score in likeliest.items() if token not in stop_ids}
    return others | ({stop_ids[0]: max(stops)} if stops else {})
