"""Response ranking: is an instruction's own response likelier to a model than other instructions' responses?

With ``p(i, j)`` the probability of response ``j`` and its stop token after instruction ``i``, the own response is
compared with

    random others    drawn with a seed; most are easy to tell from the own response (Hewitt et al. 2024)
    nearest others   hard negatives: the references most similar to the own one by sentence embedding

by two scores:

    mean log-likelihood             log p(i, j) / tokens(j)     favours responses that are likely after anything
    pointwise mutual information    log p(i, j) - log p(j)      only what the instruction adds

where ``p(j)`` is the probability of response ``j`` after the prefix of response tuning, that is in the same format
without an instruction. Mutual information is that of the whole response, not per token. Every pair is scored once,
however many comparisons use it, and each instruction is computed once for all of its responses
(``inference.shared_prompts``). Responses are scored without an instruction only where mutual information is wanted.
"""

import random
from collections.abc import Sequence

from response_tuning.evaluation.shared.relevance import nearest_texts
from response_tuning.example import Example
from response_tuning.inference.responder import PromptTooLongError
from response_tuning.runs.contract import Run
from response_tuning.runs.local import lengths_of, score_examples
from response_tuning.support.progress import progress_bar

__all__ = ["RANKINGS", "rank_responses"]

RANKINGS = ("ranks", "ranks_hard", "ranks_pmi", "ranks_hard_pmi")


def rank_responses(
    run: Run,
    examples: Sequence[Example],
    *,
    others: int,
    hard_others: int,
    seed: int,
    pmi: bool = True,
) -> list[dict[str, float]]:
    """Per example, the proportion of comparisons that its own response wins, by ranking.

    Args:
        run: scores the responses; it decides what a response without an instruction follows.
        examples: pairs; more of them than ``others`` and ``hard_others``.
        others: random other responses per example.
        hard_others: nearest other responses per example.
        seed: of the random others.
        pmi: whether to rank by mutual information too, which scores every response once more.
    """
    drawn = _random_others(len(examples), others, seed=seed)
    nearest = nearest_texts([example.completion for example in examples], hard_others)
    compared = [[own, *drawn[own], *nearest[own]] for own in range(len(examples))]
    pairs = list(dict.fromkeys((own, other) for own, row in enumerate(compared) for other in row))
    asked = [examples[own].model_copy(update={"completion": examples[other].completion}) for own, other in pairs]
    alone = [Example(completion=example.completion) for example in examples] if pmi else []
    with progress_bar("ranking", len(asked) + len(alone)) as bar:
        try:
            scores = score_examples(run, [*asked, *alone], bar=bar)
        except PromptTooLongError as error:
            own, other = [*pairs, *((row, row) for row in range(len(alone)))][error.index]
            raise error.named(f"Row {own + 1} with the completion of row {other + 1}") from None
    by_pair = dict(zip(pairs, scores, strict=False))
    lengths = lengths_of(run, [example.completion for example in examples])
    means = {pair: score / lengths[pair[1]] for pair, score in by_pair.items()}
    rankings = {"ranks": (drawn, means), "ranks_hard": (nearest, means)}
    if pmi:
        unconditional = scores[len(asked) :]
        information = {pair: score - unconditional[pair[1]] for pair, score in by_pair.items()}
        rankings |= {"ranks_pmi": (drawn, information), "ranks_hard_pmi": (nearest, information)}
    return [
        {name: _win_rate(own, rivals[own], scored) for name, (rivals, scored) in rankings.items()}
        for own in range(len(examples))
    ]


def _random_others(count: int, others: int, *, seed: int) -> list[list[int]]:
    generator = random.Random(seed)
    return [generator.sample([other for other in range(count) if other != own], others) for own in range(count)]


def _win_rate(own: int, others: Sequence[int], scores: dict[tuple[int, int], float]) -> float:
    return sum(scores[own, own] > scores[own, other] for other in others) / len(others)
