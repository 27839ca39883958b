"""Batched greedy generation against one prompt at a time."""

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.inference.generate import Response, generate_responses
from response_tuning.inference.responder import Responder
from response_tuning.models.load import LoadedModel

INSTRUCTIONS = ["Hi", "Why is the sky blue, and why is it red at night?", "Name three rivers.", "Go"]


@pytest.fixture
def loaded(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> LoadedModel:
    return LoadedModel(model, tokenizer, "tiny")


def respond(loaded: LoadedModel, batch_size: int, max_new_tokens: int = 12) -> dict[int, Response]:
    responder = Responder(loaded, Conversation(loaded.tokenizer, "tulu"))
    batches = generate_responses(responder, INSTRUCTIONS, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return {index: response for batch in batches for index, response in batch.items()}


def test_every_instruction_gets_one_response(loaded: LoadedModel) -> None:
    assert sorted(respond(loaded, batch_size=3)) == [0, 1, 2, 3]


def test_responses_do_not_depend_on_the_batch(loaded: LoadedModel) -> None:
    assert respond(loaded, batch_size=4) == respond(loaded, batch_size=1)


def test_generation_continues_the_models_own_most_likely_tokens(loaded: LoadedModel) -> None:
    conversation = Conversation(loaded.tokenizer, "tulu")
    ids = conversation.prompt_ids(INSTRUCTIONS[1])
    with torch.no_grad():
        for _ in range(4):
            ids.append(int(loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
    expected = conversation.decode(ids[len(conversation.prompt_ids(INSTRUCTIONS[1])) :])
    assert respond(loaded, batch_size=4, max_new_tokens=4)[1].text == expected


def test_a_model_that_always_says_stop_has_stopped_with_an_empty_text(loaded: LoadedModel) -> None:
    head = loaded.model.get_output_embeddings()
    stop = loaded.tokenizer.eos_token_id
    head.register_forward_hook(
        lambda _module, _inputs, logits: torch.zeros_like(logits).index_fill(-1, torch.tensor(stop), 9)
    )
    assert set(respond(loaded, batch_size=4).values()) == {Response("", 1, stopped=True)}


def test_a_model_that_never_says_stop_has_not_stopped(loaded: LoadedModel) -> None:
    head = loaded.model.get_output_embeddings()
    stop = torch.tensor(loaded.tokenizer.eos_token_id)
    head.register_forward_hook(lambda _module, _inputs, logits: logits.index_fill(-1, stop, -1e9))
    responses = respond(loaded, batch_size=2).values()
    assert {(response.stopped, response.token_count) for response in responses} == {(False, 12)}
