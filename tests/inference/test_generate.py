"""Batched greedy generation against one prompt at a time."""

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.inference.generate import Response, generate_batch, generate_responses
from response_tuning.inference.responder import PromptTooLongError, Responder
from response_tuning.inference.stops import StopRule
from response_tuning.inference.stream import TextStream
from response_tuning.models.load import LoadedModel
from response_tuning.runs.in_context.prompt import format_of

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


class WritesTokens(torch.nn.Module):
    """Stands in for a head: whatever was read, the logits of a fixed text's next token are the highest."""

    def __init__(self, ids: list[int], vocabulary: int) -> None:
        super().__init__()
        self.ids, self.vocabulary, self.step = ids, vocabulary, 0

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(*hidden.shape[:2], self.vocabulary)
        logits[..., self.ids[self.step % len(self.ids)]] = 9
        self.step += 1
        return logits


def writing(loaded: LoadedModel, text: str) -> Responder:
    """A responder in plain text whose model writes ``text`` over and over."""
    ids = loaded.tokenizer(text, add_special_tokens=False).input_ids
    loaded.model.set_output_embeddings(WritesTokens(ids, len(loaded.tokenizer)))
    return Responder(loaded, Conversation(loaded.tokenizer, format_of("", [])), stops=StopRule())


def test_plain_text_stops_at_its_closing_fence_and_keeps_its_code(loaded: LoadedModel) -> None:
    responder = writing(loaded, "\nUse this:\n\n```sh\nls\n```\n\nDone.\n```\n\n# Query:\n```\nWhat is snow?\n")
    prompts = [responder.conversation.prompt_ids(text) for text in INSTRUCTIONS]
    pieces: list[str] = []
    (response,) = generate_batch(responder, prompts[:1], [200], streamer=TextStream(responder, pieces.append))
    assert response.text == "".join(pieces) == "Use this:\n\n```sh\nls\n```\n\nDone."
    assert response.stopped
    written = responder.conversation.tokenizer("\nUse this:\n\n```sh\nls\n```\n\nDone.\n```\n\n").input_ids
    assert response.token_count <= len(written) + 1
    assert len(pieces) > 3


def test_text_that_nothing_ends_reaches_the_limit(loaded: LoadedModel) -> None:
    responder = writing(loaded, "rain ")
    (response,) = generate_batch(responder, [responder.conversation.prompt_ids("Go")], [7])
    assert (response.token_count, response.stopped) == (7, False)


def test_a_prompt_that_does_not_fit_the_context_is_an_error_before_any_is_answered(loaded: LoadedModel) -> None:
    responder = Responder(loaded, Conversation(loaded.tokenizer, "tulu"))
    assert responder.context == 2048
    generated = generate_responses(responder, ["Go", "rain " * 3000, "Go"], max_new_tokens=4, batch_size=1)
    with pytest.raises(PromptTooLongError, match=r"Prompt 2 takes [\d,]+ tokens, .* context of 2,048"):
        next(generated)


def test_generation_ends_where_the_context_ends(loaded: LoadedModel) -> None:
    responder = Responder(loaded, Conversation(loaded.tokenizer, "tulu"))
    head = loaded.model.get_output_embeddings()
    stop = torch.tensor(loaded.tokenizer.eos_token_id)
    head.register_forward_hook(lambda _module, _inputs, logits: logits.index_fill(-1, stop, -1e9))
    loaded.model.config.max_position_embeddings = 40
    prompts = [[5] * 36, [6] * 30, [7] * 8]
    together = generate_batch(responder, prompts, [12, 12, 12])
    assert [(response.token_count, response.stopped) for response in together] == [(4, False), (10, False), (12, False)]
    assert together == [generate_batch(responder, [prompt], [12])[0] for prompt in prompts]
