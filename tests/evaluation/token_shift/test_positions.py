"""Positions: ranks, divergences and choices are those of plain forward passes; summaries are hand-computed."""

import math

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.evaluation.token_shift.positions import Asked, Position, compare_positions
from response_tuning.evaluation.token_shift.summary import Bin, ShiftedToken, bins, shifted_tokens, values_of
from response_tuning.inference.responder import Responder
from response_tuning.models.load import LoadedModel
from tests.conftest import tiny_model


def position(rank: int, *, choice: int = 5, base_choice: int = 6, kl: float = 0.5) -> Position:
    return Position(choice, choice, choice if rank == 1 else base_choice, rank, kl)


@pytest.mark.parametrize(("rank", "shift"), [(1, "unshifted"), (2, "marginal"), (3, "marginal"), (4, "shifted")])
def test_a_position_is_named_by_the_rank_of_the_runs_choice(rank: int, shift: str) -> None:
    assert position(rank).shift == shift


def test_positions_are_those_of_plain_forward_passes_whatever_the_batch(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "tulu")
    models = [tiny_model(tokenizer, seed=seed) for seed in (0, 1)]
    run, base = (Responder(LoadedModel(model, tokenizer, "tiny"), conversation) for model in models)
    texts = [("What is rain?", "Water."), ("Why?", "Because it is so, as far as one can tell."), ("Name a river.", "")]
    asked = [
        Asked(conversation.prompt_ids(f"{prompt} {prompt}"), conversation.prompt_ids(prompt), response)
        for prompt, text in texts
        for response in [conversation.response_ids(text)]
    ]
    compared = compare_positions(run, base, asked)
    assert [len(positions) for positions in compared] == [len(each.response) for each in asked]
    for each, positions in zip(asked, compared, strict=True):
        for step, found in enumerate(positions):
            logits = [
                model(torch.tensor([[*prompt, *each.response[:step]]])).logits[0, -1].double().log_softmax(dim=-1)
                for model, prompt in zip(models, (each.prompt, each.base_prompt), strict=True)
            ]
            choice = int(logits[0].argmax())
            assert (found.token, found.choice, found.base_choice) == (
                each.response[step],
                choice,
                int(logits[1].argmax()),
            )
            assert found.base_rank == 1 + sum(value > float(logits[1][choice]) for value in logits[1].tolist())
            divergence = sum(math.exp(p) * (p - q) for p, q in zip(*(each.tolist() for each in logits), strict=True))
            assert found.kl == pytest.approx(divergence, rel=1e-3, abs=1e-5)


def test_a_model_does_not_differ_from_itself(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "tulu")
    run = Responder(LoadedModel(tiny_model(tokenizer), tokenizer, "tiny"), conversation)
    prompt = conversation.prompt_ids("What is rain?")
    (positions,) = compare_positions(run, run, [Asked(prompt, prompt, conversation.response_ids("Water."))])
    assert {(each.base_rank, each.kl) for each in positions} == {(1, 0.0)}


def test_on_its_own_greedy_response_a_runs_choices_are_the_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "tulu")
    run, base = (
        Responder(LoadedModel(tiny_model(tokenizer, seed=seed), tokenizer, "tiny"), conversation) for seed in (0, 1)
    )
    prompt, response = conversation.prompt_ids("What is rain?"), list[int]()
    while len(response) < 10:
        logits = run.loaded.model(torch.tensor([[*prompt, *response]])).logits
        response.append(int(logits[0, -1].argmax()))
    (positions,) = compare_positions(run, base, [Asked(prompt, prompt, response)])
    assert [each.choice for each in positions] == [each.token for each in positions] == response


def test_values_are_counts_of_tokens_and_the_place_of_the_first_difference() -> None:
    ranks = [1, 1, 3, 1, 9]
    assert values_of([position(rank) for rank in ranks]) == {
        "unshifted": (3.0, 5),
        "marginal": (1.0, 5),
        "shifted": (1.0, 5),
        "kl": 0.5,
        "first_divergence": 2.0,
    }
    assert values_of([position(1)] * 4)["first_divergence"] == 4.0
    assert values_of([position(2)])["first_divergence"] == 0.0
    assert values_of([]) == {}


def test_bins_double_and_hold_the_tokens_of_responses_that_are_long_enough() -> None:
    long = [position(rank) for rank in (1, 1, 5, 1, 2, 2, 2)]
    short = [position(4, kl=1.5)] * 2
    assert bins([long, short, []]) == [
        Bin(1, 1, 2, 0.5, 0.0, 0.5, 1.0),
        Bin(2, 2, 2, 0.5, 0.0, 0.5, 1.0),
        Bin(3, 4, 2, 0.5, 0.0, 0.5, 0.5),
        Bin(5, 7, 3, 0.0, 1.0, 0.0, 0.5),
    ]
    assert bins([]) == bins([[]]) == []


def test_the_most_shifted_tokens_are_counted_with_what_the_base_would_have_said() -> None:
    responses = [
        [position(9, choice=1, base_choice=7), position(9, choice=1, base_choice=8), position(1, choice=1)],
        [position(9, choice=1, base_choice=8), position(4, choice=2), position(3, choice=3), position(4, choice=0)],
    ]
    found = shifted_tokens(responses, lambda token: f"t{token}")
    assert found == [
        ShiftedToken("t1", shifted=3, chosen=4, instead="t8"),
        ShiftedToken("t0", shifted=1, chosen=1, instead="t6"),
        ShiftedToken("t2", shifted=1, chosen=1, instead="t6"),
    ]
    assert len(shifted_tokens(responses, str, most=1)) == 1
