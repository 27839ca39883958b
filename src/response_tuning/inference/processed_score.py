"""The likelihood of given responses under logits processors, which change every token's distribution.

A processor sees all ids so far and one step's logits, so logits are computed for a few rows at once and processed step
by step, exactly as in generation.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from response_tuning.conversation import EncodedExample
from response_tuning.inference.batch import padded_groups
from response_tuning.inference.responder import Responder
from response_tuning.support.progress import Bar

__all__ = ["processed_log_likelihoods", "response_scores"]

_LOGITS = 1 << 27
"""Logits held at once: half a gibibyte in fp32."""


@torch.inference_mode()
def processed_log_likelihoods(
    responder: Responder, encoded: Sequence[EncodedExample], *, bar: Bar | None = None
) -> list[float]:
    """The log-likelihood [nats] of the supervised tokens of each example, after the responder's logits processors."""
    totals: dict[int, float] = {}
    vocabulary = responder.loaded.model.config.get_text_config().vocab_size
    for group in _groups(encoded, steps=_LOGITS // vocabulary):
        totals |= zip(group, _totals(responder, [encoded[index] for index in group]), strict=True)
        if bar is not None:
            bar.advance(len(group))
    return [totals[index] for index in range(len(encoded))]


def _groups(encoded: Sequence[EncodedExample], *, steps: int) -> Iterator[list[int]]:
    """Indices of examples with responses of similar length, at most ``steps`` logits' rows at once."""
    return iter(padded_groups([(1, example.supervised_count) for example in encoded], tokens=steps))


def _totals(responder: Responder, examples: Sequence[EncodedExample]) -> list[float]:
    """The summed log-probabilities of the responses of one batch."""
    prompts = [example.input_ids[: example.prompt_length] for example in examples]
    responses = [example.input_ids[example.prompt_length :] for example in examples]
    totals = torch.zeros(len(examples), device=responder.loaded.model.device)
    for scores, targets, is_token in response_scores(responder, prompts, responses):
        chosen = scores.log_softmax(dim=-1).gather(1, targets[:, None]).squeeze(1)
        totals += torch.where(is_token, chosen, 0.0)
    return [float(total) for total in totals.tolist()]


def response_scores(
    responder: Responder, prompts: Sequence[list[int]], responses: Sequence[list[int]]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """What a responder predicts at each step of given responses, after its logits processors.

    Args:
        responder: the model, and how it is asked.
        prompts: the ids of each prompt.
        responses: the ids of the response to each.

    Yields:
        for each step, the logits [rows, vocabulary] in fp32, the ids [rows] of the responses, and which rows [rows]
        have a token there; the others have ended.
    """
    begin, steps = max(map(len, prompts)), max(map(len, responses))
    ids, mask = _aligned(prompts, responses, begin, steps)
    device = responder.loaded.model.device
    ids, mask = ids.to(device), mask.to(device)
    logits = _logits(responder, prompts, ids, mask, steps)
    processors = responder.processors_of(prompts)
    for step in range(steps):
        scores: Tensor = logits[:, step].float()
        for processor in processors:
            scores = processor(ids[:, : begin + step], scores)
        yield scores, ids[:, begin + step], mask[:, begin + step].bool()


def _aligned(
    prompts: Sequence[list[int]], responses: Sequence[list[int]], begin: int, steps: int
) -> tuple[Tensor, Tensor]:
    """Ids and mask [rows, begin + steps]: prompts end, and responses begin, at column ``begin``."""
    ids = torch.zeros((len(prompts), begin + steps), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        columns = slice(begin - len(prompt), begin + len(response))
        ids[row, columns] = torch.tensor([*prompt, *response])
        mask[row, columns] = 1
    return ids, mask


def _logits(responder: Responder, prompts: Sequence[list[int]], ids: Tensor, mask: Tensor, steps: int) -> Tensor:
    """The logits [rows, steps, vocabulary] that predict the last ``steps`` columns."""
    cache = responder.prefix_cache.of_batch(prompts)
    start = 0 if cache is None else cache.get_seq_length()
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = responder.loaded.model(
        input_ids=ids[:, start:-1],
        attention_mask=mask[:, :-1],
        position_ids=positions[:, start:-1],
        past_key_values=cache,
        use_cache=cache is not None,
        logits_to_keep=steps,
    )
    logits: Tensor = output.logits
    return logits
