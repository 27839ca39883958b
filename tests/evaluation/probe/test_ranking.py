"""Response ranking against the model's own logits, computed pair by pair."""

import random

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.evaluation.probe.ranking import RANKINGS, rank_responses
from response_tuning.evaluation.shared.relevance import nearest_texts
from response_tuning.example import Example
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import log_likelihoods
from response_tuning.models.load import LoadedModel
from response_tuning.runs import local as local_module
from response_tuning.runs.local import LocalRun
from response_tuning.support.options import Prefix

OTHERS, HARD_OTHERS, SEED = 3, 2, 5


def run_of(model: LlamaForCausalLM, conversation: Conversation) -> LocalRun:
    return LocalRun("tiny", Responder(LoadedModel(model, conversation.tokenizer, "tiny"), conversation))


def log_likelihood(model: LlamaForCausalLM, encoded: EncodedExample) -> float:
    """The log-likelihood of the supervised tokens, straight from the logits."""
    with torch.no_grad():
        logits = model(torch.tensor([encoded.input_ids])).logits[0].log_softmax(-1)
    return sum(
        float(logits[position - 1, encoded.input_ids[position]])
        for position in range(encoded.prompt_length, len(encoded.input_ids))
    )


@pytest.mark.parametrize("prefix", ["none", "empty_user"])
def test_every_share_is_that_of_comparisons_made_one_by_one(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, examples: list[Example], prefix: Prefix
) -> None:
    pairs = examples[:9]
    conversation = Conversation(tokenizer, "tulu", rt_prefix=prefix)
    found = rank_responses(run_of(model, conversation), pairs, others=OTHERS, hard_others=HARD_OTHERS, seed=SEED)
    completions = [pair.completion for pair in pairs]
    nearest = nearest_texts(completions, HARD_OTHERS)
    generator = random.Random(SEED)
    for own, pair in enumerate(pairs):
        drawn = generator.sample([other for other in range(len(pairs)) if other != own], OTHERS)
        mean, information = [], []
        for completion in completions:
            asked = conversation.encode(Example(prompt=pair.prompt, completion=completion), "it")
            alone = conversation.encode(Example(completion=completion), "rt")
            conditional = log_likelihood(model, asked)
            mean.append(conditional / asked.supervised_count)
            information.append(conditional - log_likelihood(model, alone))
        expected = {
            "ranks": sum(mean[own] > mean[other] for other in drawn) / OTHERS,
            "ranks_hard": sum(mean[own] > mean[other] for other in nearest[own]) / HARD_OTHERS,
            "ranks_pmi": sum(information[own] > information[other] for other in drawn) / OTHERS,
            "ranks_hard_pmi": sum(information[own] > information[other] for other in nearest[own]) / HARD_OTHERS,
        }
        assert found[own] == expected
    assert set(found[0]) == set(RANKINGS)
    assert any(row["ranks"] != row["ranks_pmi"] for row in found)
    assert 0 < sum(row["ranks_hard_pmi"] for row in found) < len(found)


def test_pairs_are_scored_once_and_responses_alone_only_for_mutual_information(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[Example],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scored: list[EncodedExample] = []

    def counted(responder: Responder, encoded: list[EncodedExample], **options: object) -> list[float]:
        scored.extend(encoded)
        return log_likelihoods(responder, encoded, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(local_module, "log_likelihoods", counted)

    def rank(*, pmi: bool) -> list[dict[str, float]]:
        scored.clear()
        return rank_responses(
            run_of(model, Conversation(tokenizer, "tulu")),
            examples[:5],
            others=4,  # all there are, so that the nearest are among them
            hard_others=4,
            seed=0,
            pmi=pmi,
        )

    whole = rank(pmi=True)
    assert len(scored) == 5 * 5 + 5
    assert len({tuple(encoded.input_ids) for encoded in scored}) == len(scored)
    without = rank(pmi=False)
    assert len(scored) == 5 * 5
    assert without == [{name: row[name] for name in ("ranks", "ranks_hard")} for row in whole]
