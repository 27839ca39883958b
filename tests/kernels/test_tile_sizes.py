"""How much of the logits is made at once on an accelerator: as much as fits, cut evenly, and always the same."""

import pytest
import torch

from response_tuning.kernels.tile_sizes import (
    MOST_TILE_ROWS,
    fitting_budget,
    liger_chunk_factor,
    logits_budget,
    tile_rows_within,
)

GIGABYTE = 2**30


@pytest.mark.parametrize("vocabulary", [1, 255, 32_000, 128_256, 151_936, 262_144])
@pytest.mark.parametrize("tokens", [0, 1, 300, 8_192, 100_000])
@pytest.mark.parametrize("capped", [False, True])
def test_tiles_fit_cover_the_vocabulary_and_are_nearly_even(vocabulary: int, tokens: int, capped: bool) -> None:
    budget = GIGABYTE
    rows = tile_rows_within(budget, tokens=tokens, vocabulary=vocabulary, capped=capped)
    assert 1 <= rows <= min(vocabulary, MOST_TILE_ROWS)
    assert rows * tokens * (24 if capped else 8) <= budget
    tiles = -(-vocabulary // rows)
    assert rows - vocabulary / tiles < 256


def test_a_vocabulary_just_above_one_tile_is_halved_rather_than_cut_into_a_whole_and_a_rest() -> None:
    assert tile_rows_within(GIGABYTE, tokens=100, vocabulary=MOST_TILE_ROWS + 232, capped=False) == 16_640


def test_llama_3s_head_at_8192_tokens_takes_four_tiles_on_a_large_gpu_and_more_on_a_small_one() -> None:
    large, small = (
        tile_rows_within(memory * GIGABYTE // 32, tokens=8_192, vocabulary=128_256, capped=False)
        for memory in (140, 24)
    )
    assert -(-128_256 // large) == 4
    assert small * 8_192 * 8 <= 24 * GIGABYTE // 32 < 2 * small * 8_192 * 8


def test_what_is_free_changes_nothing_until_it_is_less_than_twice_the_budget() -> None:
    assert fitting_budget(GIGABYTE, free=100 * GIGABYTE) == fitting_budget(GIGABYTE, free=2 * GIGABYTE) == GIGABYTE
    assert fitting_budget(GIGABYTE, free=2 * GIGABYTE - 1) == GIGABYTE // 2
    assert fitting_budget(GIGABYTE, free=0) == 1
    assert tile_rows_within(1, tokens=1000, vocabulary=5000, capped=False) == 256


def test_narrow_hidden_states_let_liger_take_more_than_a_few_tokens_at_a_time() -> None:
    hidden, head = torch.empty((1024, 640)), torch.empty((262_144, 640), device="meta")
    factor = liger_chunk_factor(hidden, head)
    assert factor > 1
    assert factor * hidden.numel() * 4 <= logits_budget(hidden.device)
    assert liger_chunk_factor(torch.empty((2**20, 1024), device="meta"), head) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpus_budget_is_a_share_of_its_memory() -> None:
    device = torch.device("cuda")
    whole = torch.cuda.get_device_properties(device).total_memory
    assert logits_budget(device) <= whole / 32
