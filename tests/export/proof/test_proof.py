"""What counts as the same answer."""

import pytest
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from response_tuning.conversation import Conversation
from response_tuning.export.proof.proof import Continuation, Engine, Reference, make_reference, prove
from response_tuning.inference.responder import Responder
from response_tuning.models.load import LoadedModel

OWN = Reference(
    instruction="Count.",
    prompt_ids=[1, 2],
    answer=Continuation([10, 11, 12], [-0.1, -0.2, -0.3]),
    likeliest=[{10: -0.1, 20: -3.0}, {11: -0.2, 21: -0.4}, {12: -0.3, 22: -5.0}],
)


def engine_that_says(next_tokens: dict[int, int], *, rendered: tuple[int, ...] = (1, 2), off_by: float = 0.0) -> Engine:
    """An engine whose next token follows from the last one; every token has the run's score, or is ``off_by``."""
    scores = {10: -0.1, 11: -0.2, 12: -0.3}

    def answer(ids: list[int], new_tokens: int) -> Continuation:
        tokens: list[int] = []
        while len(tokens) < new_tokens:
            tokens.append(next_tokens[[*ids, *tokens][-1]])
        return Continuation(tokens, [scores.get(token, -1.0) - off_by for token in tokens])

    return Engine("test", lambda _instruction: list(rendered), answer)


def test_the_same_answer_holds() -> None:
    proof = prove([OWN], engine_that_says({2: 10, 10: 11, 11: 12}), file="x", tolerance=0.0)
    assert proof.holds
    assert (proof.same_tokens, proof.near_ties, proof.largest_difference) == (3, 0, 0.0)


def test_a_near_tie_holds_and_the_rest_is_compared_all_the_same() -> None:
    proof = prove([OWN], engine_that_says({2: 10, 10: 21, 21: 99, 11: 12}), file="x", tolerance=0.3)
    assert proof.holds
    assert (proof.same_tokens, proof.near_ties) == (2, 1)
    assert proof.largest_gap == pytest.approx(0.2)


def test_another_token_after_a_near_tie_does_not_hold() -> None:
    proof = prove([OWN], engine_that_says({2: 10, 10: 21, 21: 99, 11: 22}), file="x", tolerance=0.3)
    assert not proof.holds
    assert proof.largest_gap == pytest.approx(4.7)


def test_a_token_that_the_run_did_not_think_of_does_not_hold() -> None:
    assert not prove([OWN], engine_that_says({2: 77, 77: 77}), file="x", tolerance=0.3).holds


def test_the_same_tokens_with_other_scores_do_not_hold() -> None:
    proof = prove([OWN], engine_that_says({2: 10, 10: 11, 11: 12}, off_by=0.5), file="x", tolerance=0.3)
    assert not proof.holds
    assert proof.same_tokens == 3


def test_other_prompt_ids_do_not_hold() -> None:
    proof = prove([OWN], engine_that_says({2: 10, 10: 11, 11: 12}, rendered=(1, 1, 2)), file="x", tolerance=0.3)
    assert not proof.holds
    assert proof.same_prompt_ids == 0


def test_an_answer_that_ends_without_a_stop_token_does_not_hold() -> None:
    cut = Engine("test", lambda _instruction: [1, 2], lambda _ids, _new_tokens: Continuation([], []))
    assert not prove([OWN], cut, file="x", tolerance=0.3).holds


def test_a_run_answers_greedily_and_keeps_the_likeliest_tokens(
    tokenizer: PreTrainedTokenizerBase, model: LlamaForCausalLM
) -> None:
    conversation = Conversation(tokenizer, "tulu")
    (reference,) = make_reference(
        Responder(LoadedModel(model, tokenizer, "tiny"), conversation), prompts=1, new_tokens=5
    )
    assert reference.prompt_ids == conversation.prompt_ids(reference.instruction)
    for token, score, likeliest in zip(
        reference.answer.token_ids, reference.answer.log_probabilities, reference.likeliest, strict=True
    ):
        assert max(likeliest, key=lambda other: likeliest[other]) == token
        assert likeliest[token] == pytest.approx(score)
