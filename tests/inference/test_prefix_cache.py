"""A prefix that prompts share is computed once, and changes no token."""

import os
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from response_tuning.conversation import ChatFormat, Conversation, EncodedExample
from response_tuning.example import Example
from response_tuning.inference import prefix_cache as prefix_cache_module
from response_tuning.inference.generate import Response, generate_responses
from response_tuning.inference.prefix_cache import PrefixCache
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import example_losses, log_likelihoods
from response_tuning.models.chat_files import set_stop_tokens
from response_tuning.models.heads import decoder_and_head
from response_tuning.models.load import LoadedModel
from tests.architectures.small_models import PROMISED, VOCABULARY, small_model

INSTRUCTIONS = ["Hi", "Why is the sky blue, and why is it red at night?", "Name three rivers.", "Go", "What is rain?"]
WINDOW = 24


def tiny_gemma(tokenizer: PreTrainedTokenizerBase) -> Gemma3ForCausalLM:
    """A random Gemma 3 in fp32 whose sliding window is far shorter than the prefix."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=1024,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        initializer_range=0.2,
    )
    model = Gemma3ForCausalLM(config)
    model.eval().requires_grad_(False)
    return model


@pytest.fixture(params=["llama", "gemma3"])
def any_model(
    request: pytest.FixtureRequest, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel:
    return model if request.param == "llama" else tiny_gemma(tokenizer)


@pytest.fixture
def responder(any_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: list[Example]) -> Responder:
    """A model that is asked after demonstrations."""
    shown = "".join(f"Q: {example.prompt}\nA: {example.completion}\n\n" for example in examples[:2])
    text = ChatFormat(preamble=shown, before_instruction="Q: ", after_instruction="\n", assistant_header="A:", lead=" ")
    return Responder(LoadedModel(any_model, tokenizer, "tiny"), Conversation(tokenizer, text))


@pytest.fixture
def computed(responder: Responder) -> list[int]:
    """How many columns each forward pass computes."""
    lengths: list[int] = []

    def note(_module: Any, _arguments: Any, options: dict[str, Any]) -> None:
        lengths.append(options["input_ids"].shape[1])

    decoder_and_head(responder.loaded.model)[0].register_forward_pre_hook(note, with_kwargs=True)
    return lengths


def without_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefixCache, "is_worth", lambda *_: False)


def answered(responder: Responder, *, batch_size: int) -> list[Response]:
    batches = generate_responses(responder, INSTRUCTIONS, max_new_tokens=WINDOW + 8, batch_size=batch_size)
    by_index = {index: response for batch in batches for index, response in batch.items()}
    return [by_index[index] for index in range(len(INSTRUCTIONS))]


def test_greedy_tokens_are_those_without_it_and_it_is_computed_once_for_all_batches(
    responder: Responder, computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix, prompts = responder.shared_prefix, list(map(responder.conversation.prompt_ids, INSTRUCTIONS))
    assert len(prefix) > 4 * WINDOW
    assert all(prompt[: len(prefix)] == prefix for prompt in prompts)
    with_it = answered(responder, batch_size=2)
    assert computed.count(len(prefix)) == 1
    assert max(computed[computed.index(len(prefix)) + 1 :]) == max(map(len, prompts)) - len(prefix)
    assert answered(responder, batch_size=5) == with_it
    assert computed.count(len(prefix)) == 1
    without_cache(monkeypatch)
    assert answered(responder, batch_size=1) == with_it
    assert len({response.text for response in with_it}) > 1


def test_likelihoods_are_those_without_it(
    responder: Responder, examples: list[Example], computed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: Sequence[Example] = examples[2:6]
    encoded = [
        responder.conversation.encode(Example(prompt=one.prompt, completion=other.completion), "it")
        for one in asked
        for other in asked[:3]
    ]
    encoded += [responder.conversation.encode(example, "rt") for example in asked]
    with_it = log_likelihoods(responder, encoded, batch_tokens=300)
    # The prefix, one example whole to compare with, and rows without the prefix.
    assert sum(len(example.input_ids) for example in encoded) > 2 * sum(computed)
    without_cache(monkeypatch)
    alone = [log_likelihoods(responder, [example])[0] for example in encoded]
    assert with_it == pytest.approx(alone, rel=1e-4)


def test_a_short_prefix_is_computed_with_each_prompt(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    plain = Responder(LoadedModel(model, tokenizer, "tiny"), Conversation(tokenizer, "tulu"))
    assert plain.prefix_cache.of_batch([[1, 2, 3], [1, 2]]) is None
    assert len(plain.shared_prefix) < prefix_cache_module._WORTHWHILE_TOKENS


ARCHITECTURES = (
    list(PROMISED) if os.environ.get("RT_ARCHITECTURES") == "all" else ["falcon", "gpt2", "mamba", "qwen2_moe"]
)
"""``RT_ARCHITECTURES=all`` tries every architecture (about three minutes)."""
CANNOT_GENERATE = {"bailing_hybrid", "jamba", "kimi_linear", "recurrent_gemma"}
"""At this size transformers 5.23 generates nothing with them, with or without a prefix."""


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_that_cannot_share_a_prefix_computes_it_each_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = small_model(name)
    model.eval().requires_grad_(False)
    set_stop_tokens(model, [2])
    ids = torch.randint(5, VOCABULARY, (4, 48)).tolist()
    prompts = [[*ids[0], *ids[1][:count]] for count in (3, 9, 5)]
    encoded = [EncodedExample([*prompt, *own[:6]], len(prompt)) for prompt in prompts for own in ids[2:]]
    found = []
    for works in (True, False):
        if not works:
            without_cache(monkeypatch)
        prefix = PrefixCache(model, ids[0])
        if name not in CANNOT_GENERATE:
            cache = prefix.of_batch(prompts)
            options = {} if cache is None else {"past_key_values": cache}
            padded = [[0] * (57 - len(prompt)) + prompt for prompt in prompts]
            mask = torch.tensor([[0] * (57 - len(prompt)) + [1] * len(prompt) for prompt in prompts])
            input_ids = torch.tensor(padded)
            generated = model.generate(  # type: ignore[operator]
                input_ids=input_ids, attention_mask=mask, max_new_tokens=12, **options
            )
            found.append(generated.tolist())
        found.append(example_losses(model, encoded, batch_tokens=64, prefix=prefix))
    half = len(found) // 2
    assert found[half - 1] == pytest.approx(found[-1], rel=1e-4)
    assert found[: half - 1] == found[half:-1]
