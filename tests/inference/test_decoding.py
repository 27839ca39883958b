"""Decoding that narrows its batch, against ``generate`` at full width."""

import os
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from response_tuning.inference import decoding
from response_tuning.inference.batch import left_padded
from response_tuning.inference.decoding import decode
from tests.architectures.small_models import EVERYDAY, PROMISED, VOCABULARY, small_model

_LIMIT = 24
_FEW = ("llama", "gemma2", "qwen2", "mamba")
_NAMES = PROMISED if os.environ.get("DECODE_EVERY_ARCHITECTURE") else _FEW
"""All architectures, in a minute, where the variable is set; else one with sliding windows and one without a cache of
keys and values beside plain ones."""


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(8, VOCABULARY, (length,), generator=generator).tolist() for length in (3, 9, 5, 14, 7, 4, 11, 6)
    ]


def stopping_model(name: str) -> PreTrainedModel:
    """A random model and stop tokens that its rows reach at different times."""
    model: PreTrainedModel = small_model(name).eval()
    model.generation_config.eos_token_id = []
    model.generation_config.pad_token_id = 0
    free = at_full_width(model)
    stops = {row[3 * index + 1] for index, row in enumerate(free[:6])}
    model.generation_config.eos_token_id = sorted(stops)
    return model


def until_stop(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> list[list[int]]:
    stops = model.generation_config.eos_token_id
    ends = [next((at + 1 for at, token in enumerate(ids) if token in stops), _LIMIT) for ids in rows]
    return [list(ids[: min(end, _LIMIT)]) for ids, end in zip(rows, ends, strict=True)]


@torch.inference_mode()
def at_full_width(model: PreTrainedModel) -> list[list[int]]:
    ids, mask = left_padded(prompts())
    output: Tensor = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=_LIMIT)  # type: ignore[operator]
    return until_stop(model, output[:, ids.shape[1] :].tolist())


def widths(model: PreTrainedModel) -> list[int]:
    """The rows of every forward pass from now on."""
    seen: list[int] = []
    embeddings = model.get_input_embeddings()
    embeddings.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
    return seen


@pytest.mark.parametrize("name", _NAMES)
def test_the_tokens_are_those_of_generate(name: str) -> None:
    try:
        model = stopping_model(name)
    except ValueError as error:
        pytest.skip(f"transformers cannot generate with it: {error}")
    expected = at_full_width(model)
    if name in _FEW:
        assert len({len(row) for row in expected}) > 1, "rows that all end at once show nothing"
    found = decode(model, prompts(), [_LIMIT] * 8)
    assert until_stop(model, found) == expected


def test_finished_rows_are_dropped() -> None:
    model = stopping_model("llama")
    lengths = sorted(len(row) for row in at_full_width(model))
    seen = widths(model)
    decode(model, prompts(), [_LIMIT] * 8)
    assert sum(seen) < 0.9 * 8 * len(seen)
    assert seen[-1] < 8
    assert len(seen) <= lengths[-1]


def test_a_row_with_a_lower_limit_is_dropped_there() -> None:
    model = stopping_model("llama")
    model.generation_config.eos_token_id = []
    seen = widths(model)
    limits = [2, 2, 2, 2, 2, 2, 2, 12]
    found = decode(model, prompts(), limits)
    assert seen == [8, 8] + [1] * 10
    model.generation_config.eos_token_id = []
    alone = decode(model, prompts()[7:], [12])
    assert found[7] == alone[0]
    assert [len(row) for row in found] == limits


def test_a_cache_that_cannot_be_narrowed_is_decoded_at_full_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known before decoding, or only when it has paused: the tokens are the same."""
    model = stopping_model("llama")
    expected = at_full_width(model)
    monkeypatch.setattr(decoding, "_can_narrow", lambda _model: False)
    assert until_stop(model, decode(model, prompts(), [_LIMIT] * 8)) == expected
    monkeypatch.setattr(decoding, "_can_narrow", lambda _model: True)
    monkeypatch.setattr(decoding, "_holds_rows_alone", lambda _cache: False)
    assert until_stop(model, decode(model, prompts(), [_LIMIT] * 8)) == expected


def test_an_accelerator_is_asked_rarely_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = stopping_model("llama")
    expected = at_full_width(model)
    made = decoding._Pause.__init__

    def as_on_an_accelerator(self: decoding._Pause, *arguments: object, **options: object) -> None:
        made(self, *arguments, **options)  # type: ignore[arg-type]
        self._look_every = 5

    monkeypatch.setattr(decoding._Pause, "__init__", as_on_an_accelerator)
    assert until_stop(model, decode(model, prompts(), [_LIMIT] * 8)) == expected


def test_decoding_that_is_cancelled_returns_the_tokens_so_far() -> None:
    model = stopping_model("llama")
    asked: list[bool] = []

    def after_three() -> bool:
        asked.append(True)
        return len(asked) >= 3

    found = decode(model, prompts(), [_LIMIT] * 8, is_cancelled=after_three)
    assert max(map(len, found)) == 3


def test_everyday_models_narrow() -> None:
    """Most users' models have a cache of keys and values alone."""
    assert [name for name in ("llama", "gemma3_text", "qwen3") if not decoding._can_narrow(small_model(name))] == []
    assert EVERYDAY
