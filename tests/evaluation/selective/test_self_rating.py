"""A model's ratings of its own responses, against its own logits."""

import math

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import FORMATS, Conversation
from response_tuning.evaluation.selective.self_rating import rate_responses, rating_request
from response_tuning.example import Example
from response_tuning.inference.responder import Responder
from response_tuning.models.load import LoadedModel
from response_tuning.support.options import FormatName


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("batch_tokens", [1, 100_000])
def test_a_rating_is_the_mean_of_the_digits_under_the_models_own_next_token_probabilities(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    examples: list[Example],
    format_name: FormatName,
    batch_tokens: int,
) -> None:
    conversation = Conversation(tokenizer, format_name)
    pairs = [(example.prompt or "", example.completion[: 10 * number]) for number, example in enumerate(examples[:5])]
    ratings = rate_responses(
        Responder(LoadedModel(model, tokenizer, "tiny"), conversation), pairs, batch_tokens=batch_tokens
    )
    for (instruction, response), rating in zip(pairs, ratings, strict=True):
        prompt = conversation.prompt_ids(rating_request(instruction, response))
        probabilities = [
            _probability(model, prompt, conversation.response_ids(str(digit))[:-1]) for digit in (1, 2, 3, 4, 5)
        ]
        mean = sum(digit * share for digit, share in enumerate(probabilities, start=1)) / sum(probabilities)
        assert rating.expected == pytest.approx(mean, rel=1e-4)
        assert 1 <= rating.expected <= 5
        assert 0 < rating.digit_share <= 1
    assert len({round(rating.expected, 6) for rating in ratings}) == len(pairs)


def _probability(model: LlamaForCausalLM, prompt: list[int], reply: list[int]) -> float:
    """Of a whole reply, token by token; what the five have in common drops out of their mean."""
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *reply]])).logits[0].double().log_softmax(-1)
    return math.exp(sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(reply)))


def test_a_request_shows_instruction_and_response_and_renders_nothing_in_them() -> None:
    request = rating_request("Add {{ 2 + 2 }}.", " {% if %} four ")
    assert "The instruction was:\nAdd {{ 2 + 2 }}.\n" in request
    assert "The answer was:\n{% if %} four\n" in request
