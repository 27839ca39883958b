"""Log-likelihoods against the model's own logits."""

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.example import Example
from response_tuning.inference.score import mean_log_likelihoods
from response_tuning.models.load import LoadedModel


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_scores_are_the_models_mean_log_likelihoods_whatever_the_batch(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, examples: list[Example], batch_tokens: int
) -> None:
    encoded = [Conversation(tokenizer, "tulu").encode(example, "it") for example in examples[:6]]
    scores = mean_log_likelihoods(LoadedModel(model, tokenizer, "tiny"), encoded, batch_tokens=batch_tokens)
    for example, score in zip(encoded, scores, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
        positions = range(example.prompt_length - 1, len(example.input_ids) - 1)
        own = [float(logits[position, example.input_ids[position + 1]]) for position in positions]
        assert score == pytest.approx(sum(own) / len(own), rel=1e-4)
