"""Choosing the next token of each row of a batch by options of its own: greedy, or sampled from its own seed.

Sampling adds Gumbel noise to the scores and takes the largest (Gumbel 1954; Maddison et al. 2014), so rows with
different options share a batch, and a row's noise depends on its seed alone, not on the rows beside it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor

__all__ = ["RowChoice", "Sampling", "TokenScores"]


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The defaults are greedy."""

    temperature: float = 0.0
    """0 is greedy."""
    top_p: float = 1.0
    """Only the most likely tokens that together have this probability can be chosen."""
    presence_penalty: float = 0.0
    """Subtracted from the score of every token that the response has already."""
    frequency_penalty: float = 0.0
    """Subtracted as often as the response has the token."""
    seed: int | None = None
    """None draws another one for each response."""

    @property
    def is_plain(self) -> bool:
        """Whether the most likely token is chosen, so that nothing has to be done."""
        return self.temperature == 0 and not self.presence_penalty and not self.frequency_penalty


@dataclass(frozen=True)
class TokenScores:
    """A generated token with its log-probability [nats], before penalties and temperature, and the likeliest others."""

    token_id: int
    log_probability: float | None
    """None where the engine reports none."""
    likeliest: tuple[tuple[int, float], ...]


class RowChoice(LogitsProcessor):
    """The last logits processor of a batch: each row's scores as its own ``Sampling`` says.

    Args:
        rows: how each row chooses.
        prompt_length: the padded length of the prompts [tokens]; penalties count what follows.
        scored: for each row how many of the likeliest tokens are recorded per step; None records nothing.
    """

    def __init__(self, rows: Sequence[Sampling], *, prompt_length: int, scored: Sequence[int | None]) -> None:
        self._rows, self._prompt_length, self._scored = rows, prompt_length, scored
        self._generators = [_generator(row.seed) for row in rows]
        self._log_probabilities: dict[int, Tensor] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [rows, vocabulary] whose largest entry is each row's choice."""
        for row, count in enumerate(self._scored):
            if count is not None:
                self._log_probabilities[row] = scores[row].float().log_softmax(dim=-1)
        if all(sampling.is_plain for sampling in self._rows):
            return scores
        chosen = scores.clone()
        for row, sampling in enumerate(self._rows):
            if not sampling.is_plain:
                chosen[row] = self._row_scores(row, input_ids[row, self._prompt_length :].tolist(), scores[row].float())
        return chosen

    def scores_of(self, row: int, token: int) -> TokenScores | None:
        """The log-probabilities of a row's newest token, if the row asked for them."""
        count = self._scored[row]
        if count is None:
            return None
        values = self._log_probabilities[row]
        best, ids = values.topk(min(count, len(values)))
        likeliest = tuple(zip(ids.tolist(), best.tolist(), strict=True))
        return TokenScores(token, float(values[token]), likeliest)

    def _row_scores(self, row: int, response: list[int], scores: Tensor) -> Tensor:
        sampling = self._rows[row]
        for token, count in Counter(response).items():
            scores[token] -= sampling.presence_penalty + sampling.frequency_penalty * count
        if sampling.temperature == 0:
            return scores
        scores = _within_top_p(scores / sampling.temperature, sampling.top_p)
        noise = torch.empty(len(scores)).exponential_(generator=self._generators[row])
        return scores - noise.log().to(scores.device)


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _within_top_p(scores: Tensor, top_p: float) -> Tensor:
    """The scores with -inf for tokens outside the smallest set of likeliest ones that has the probability ``top_p``."""
    if top_p >= 1:
        return scores
    ordered, order = scores.sort(descending=True)
    probabilities = ordered.softmax(dim=-1)
    outside = probabilities.cumsum(dim=-1) - probabilities >= top_p
    return scores.index_fill(0, order[outside], -torch.inf)
