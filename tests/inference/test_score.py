"""Log-likelihoods against the model's own logits."""

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation, EncodedExample
from response_tuning.example import Example
from response_tuning.inference import shared_prompts as shared_prompts_module
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import log_likelihoods, mean_log_likelihoods
from response_tuning.inference.shared_prompts import shared_rows
from response_tuning.models.load import LoadedModel


@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_scores_are_the_models_mean_log_likelihoods_whatever_the_batch(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, examples: list[Example], batch_tokens: int
) -> None:
    encoded = [Conversation(tokenizer, "tulu").encode(example, "it") for example in examples[:6]]
    scores = mean_log_likelihoods(
        Responder(LoadedModel(model, tokenizer, "tiny"), Conversation(tokenizer, "tulu")),
        encoded,
        batch_tokens=batch_tokens,
    )
    for example, score in zip(encoded, scores, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
        positions = range(example.prompt_length - 1, len(example.input_ids) - 1)
        own = [float(logits[position, example.input_ids[position + 1]]) for position in positions]
        assert score == pytest.approx(sum(own) / len(own), rel=1e-4)


def log_likelihood(model: LlamaForCausalLM, example: EncodedExample) -> float:
    """Straight from the logits of the example alone."""
    with torch.no_grad():
        logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
    positions = range(example.prompt_length - 1, len(example.input_ids) - 1)
    return sum(float(logits[position, example.input_ids[position + 1]]) for position in positions)


@pytest.fixture
def families(tokenizer: PreTrainedTokenizerBase, examples: list[Example]) -> list[EncodedExample]:
    """Several responses to each of three prompts, one of a lone prompt, and one that is the stop token alone."""
    conversation = Conversation(tokenizer, "tulu")
    pairs = [
        Example(prompt=examples[prompt].prompt, completion=examples[response].completion[:60])
        for response in range(5)
        for prompt in range(3)
    ]
    encoded = [conversation.encode(pair, "it") for pair in [*pairs, examples[7]]]
    prompt = encoded[0].input_ids[: encoded[0].prompt_length]
    return [*encoded, EncodedExample([*prompt, conversation.stop_token_ids[0]], len(prompt))]


@pytest.mark.parametrize("batch_tokens", [1, 150, 100_000])
def test_responses_that_share_a_prompt_score_as_each_does_alone(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    families: list[EncodedExample],
    batch_tokens: int,
) -> None:
    rows, others = shared_rows(model, families, tokens=batch_tokens)
    assert others == [15]  # nobody shares the lone prompt
    assert sorted(index for row in rows for index in row.indices) == [*range(15), 16]
    implementation = model.config._attn_implementation
    scores = log_likelihoods(
        Responder(LoadedModel(model, tokenizer, "tiny"), Conversation(tokenizer, "tulu")),
        families,
        batch_tokens=batch_tokens,
    )
    assert scores == pytest.approx([log_likelihood(model, example) for example in families], rel=1e-5)
    assert model.config._attn_implementation == implementation


def test_a_shared_prompt_is_computed_once(model: LlamaForCausalLM, families: list[EncodedExample]) -> None:
    (row,), _ = shared_rows(model, families[:15], tokens=100_000)
    prompts = {tuple(example.input_ids[: example.prompt_length]) for example in families[:15]}
    responses = sum(example.supervised_count - 1 for example in families[:15])
    assert 0 <= row.batch.input_ids.numel() - responses - sum(map(len, prompts)) < 32


def test_prompts_are_shared_only_where_that_pays_fits_the_window_and_gives_the_same(
    model: LlamaForCausalLM, families: list[EncodedExample], monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone = list(range(len(families)))
    short_prompts = [EncodedExample(example.input_ids[example.prompt_length - 1 :], 1) for example in families]
    assert shared_rows(model, short_prompts, tokens=1000) == ([], everyone)
    model.config.sliding_window = 10
    assert shared_rows(model, families, tokens=1000) == ([], everyone)
    model.config.sliding_window = None
    monkeypatch.setattr(shared_prompts_module, "losses_of_row", lambda _model, _loss_of, row: row.batch.targets * 1.0)
    assert shared_rows(model, families, tokens=1000) == ([], everyone)
