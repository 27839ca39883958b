"""The weights of rules: hand-computed, the same in a batch as alone, and blind to padding."""

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from response_tuning.runs.rules.rule_file import DiversityRule, EosRule
from response_tuning.runs.rules.weigh import ResolvedRules, RuleProcessor, TokenWeights

VOCABULARY, STOP = 8, 7
BEFORE = [0, 1]
"""BOS and the user tag."""
PROMPT = [*BEFORE, 2, 3, 2, 4]
"""With the instruction 2 3 2 and the assistant tag 4."""


def rules(
    *,
    eos: EosRule | None = None,
    weights: dict[str, float] | None = None,
    ids: dict[str, list[int]] | None = None,
    first_tokens: int | None = None,
    diversity: DiversityRule | None = None,
) -> ResolvedRules:
    return ResolvedRules(
        stop_ids=[STOP],
        growing=[eos] if eos else [],
        pieces={"pieces": TokenWeights(weights, ids or {}, first_tokens)} if weights else {},
        occurred=[diversity] if diversity else [],
    )


def weighed(of: ResolvedRules, response: Sequence[int], *, prompt: Sequence[int] = PROMPT) -> list[float]:
    """The weights that are added after a response so far."""
    processor = RuleProcessor(of, [prompt], before_instruction=BEFORE)
    row: list[float] = processor(torch.tensor([[*prompt, *response]]), torch.zeros(1, VOCABULARY))[0].tolist()
    return row


@pytest.mark.parametrize(("count", "weight"), [(0, 0), (1, 15 / 250), (100, 6.0), (249, 249 * 15 / 250), (250, 15.0)])
def test_the_stop_tokens_weight_grows_with_the_response_and_stays(count: int, weight: float) -> None:
    row = weighed(rules(eos=EosRule()), [5] * count)
    assert row[STOP] == pytest.approx(weight)
    assert row[:STOP] == [0.0] * STOP


def test_the_weight_after_the_last_token_can_be_that_of_the_authors_code() -> None:
    assert weighed(rules(eos=EosRule(afterwards=0.0)), [5] * 249)[STOP] == pytest.approx(14.94)
    assert weighed(rules(eos=EosRule(afterwards=0.0)), [5] * 250)[STOP] == 0.0


def test_every_id_of_a_piece_has_its_weight_at_every_step() -> None:
    of = rules(weights={"a": -4.0, "b": 1.0, "none": 9.0}, ids={"a": [2, 5], "b": [3], "none": []})
    for response in ([], [5], [5] * 30):
        assert weighed(of, response) == [0, 0, -4, 1, 0, -4, 0, 0]


def test_pieces_can_be_weighed_at_the_beginning_of_a_response_alone() -> None:
    of = rules(weights={"a": 3.0}, ids={"a": [6]}, first_tokens=2)
    assert [weighed(of, [5] * count)[6] for count in range(4)] == [3, 3, 0, 0]


def test_what_occurred_since_the_instruction_is_penalised_once() -> None:
    of = rules(diversity=DiversityRule())
    assert weighed(of, []) == [0, 0, -1.5, -1.5, -1.5, 0, 0, 0]
    assert weighed(of, [5, 5, 0, 5]) == [-1.5, 0, -1.5, -1.5, -1.5, -1.5, 0, 0]


def test_what_occurred_in_the_response_alone_is_penalised_on_request() -> None:
    of = rules(diversity=DiversityRule(since="response"))
    assert weighed(of, []) == [0.0] * VOCABULARY
    assert weighed(of, [5, 5, 0]) == [-1.5, 0, 0, 0, 0, -1.5, 0, 0]


def test_a_stop_token_in_the_prompt_is_not_penalised() -> None:
    """ChatML ends the instruction with the token that ends a response."""
    row = weighed(rules(diversity=DiversityRule(), eos=EosRule()), [5], prompt=[*BEFORE, 2, STOP, 4])
    assert row == pytest.approx([0, 0, -1.5, 0, -1.5, -1.5, 0, 15 / 250])


def test_a_response_without_an_instruction_counts_what_follows_the_common_beginning() -> None:
    row = weighed(rules(diversity=DiversityRule()), [5], prompt=[0, 4])
    assert row == [0, 0, 0, 0, -1.5, -1.5, 0, 0]


def test_the_probabilities_are_those_of_both_distributions_multiplied() -> None:
    """p(w) = p_base(w) p_rules(w) / Z, with p_rules the softmax of the summed weights (section 6)."""
    of = rules(eos=EosRule(), weights={"a": -4.0}, ids={"a": [2]}, diversity=DiversityRule())
    logits = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(0))
    processor = RuleProcessor(of, [PROMPT], before_instruction=BEFORE)
    found = processor(torch.tensor([[*PROMPT, 5, 2]]), logits).softmax(dim=-1)[0].tolist()
    weights = [0, 0, -4 - 1.5, -1.5, -1.5, -1.5, 0, 2 * 15 / 250]
    product = [p * math.exp(weight) for p, weight in zip(logits.softmax(dim=-1)[0].tolist(), weights, strict=True)]
    assert found == pytest.approx([value / sum(product) for value in product], rel=1e-5)


def test_a_batch_is_weighed_as_its_rows_alone_and_padding_is_not_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    of = rules(
        eos=EosRule(tokens=3), weights={"a": -4.0, "b": 1.0}, ids={"a": [2], "b": [3, 6]}, diversity=DiversityRule()
    )
    prompts = [PROMPT, [*BEFORE, 5, 4], [*BEFORE, 6, 3, 3, 6, 4, 4]]
    responses = [[3, 5], [2, 2], [0, 6]]
    logits = torch.randn(3, VOCABULARY, generator=generator)
    alone = torch.cat([single(of, *parts) for parts in zip(prompts, responses, logits, strict=True)])
    width = max(map(len, prompts))
    for padding in range(VOCABULARY):  # any id may be that of padding, the stop token's too
        ids = [[padding] * (width - len(p)) + p + r for p, r in zip(prompts, responses, strict=True)]
        batch = RuleProcessor(of, prompts, before_instruction=BEFORE)(torch.tensor(ids), logits)
        assert torch.equal(batch, alone)


def single(of: ResolvedRules, prompt: list[int], response: list[int], logits: Tensor) -> Tensor:
    processor = RuleProcessor(of, [prompt], before_instruction=BEFORE)
    row: Tensor = processor(torch.tensor([[*prompt, *response]]), logits[None])
    return row


def test_logits_of_the_caller_are_not_changed_and_narrow_ones_are_widened() -> None:
    logits = torch.zeros(1, VOCABULARY, dtype=torch.bfloat16)
    processor = RuleProcessor(rules(diversity=DiversityRule()), [PROMPT], before_instruction=BEFORE)
    assert processor(torch.tensor([PROMPT]), logits).dtype == torch.float32
    assert not logits.any()
