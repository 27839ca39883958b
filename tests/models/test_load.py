"""Loading the models that specs name."""

from pathlib import Path

import pytest
import torch

from response_tuning.models.heads import decoder_and_head
from response_tuning.models.load import load_model, load_without_weights
from response_tuning.support.errors import UserError


def test_a_folder_loads_frozen_in_evaluation_mode_in_the_dtype_asked_for(model_folder: Path) -> None:
    loaded = load_model(str(model_folder), dtype="bfloat16", device="cpu")
    assert loaded.model.dtype == torch.bfloat16
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


@pytest.mark.parametrize("tied", [False, True])
def test_without_weights_a_model_is_the_same_but_for_what_they_hold(
    model_folder: Path, tied_folder: Path, tied: bool
) -> None:
    folder = str(tied_folder if tied else model_folder)
    loaded = load_model(folder, dtype="bfloat16", device="cpu")
    empty = load_without_weights(folder, dtype="bfloat16")
    assert empty.path == loaded.path
    weights, rooms = dict(loaded.model.named_parameters()), dict(empty.model.named_parameters())
    assert ("lm_head.weight" in rooms) == (not tied)
    assert [(name, room.shape, room.dtype, room.device, room.requires_grad) for name, room in rooms.items()] == [
        (name, weight.shape, weight.dtype, weight.device, weight.requires_grad) for name, weight in weights.items()
    ]
    torch.testing.assert_close(dict(empty.model.named_buffers()), dict(loaded.model.named_buffers()), rtol=0, atol=0)
    for name, room in rooms.items():
        room.data.copy_(weights[name])
    input_ids = torch.arange(3, 20)[None, :]
    assert torch.equal(empty.model(input_ids).logits, loaded.model(input_ids).logits)


def test_the_head_is_given_its_input_without_gaps(model_folder: Path) -> None:
    """A strided view would make PyTorch copy the head's weights once per row (models/heads.py)."""
    loaded = load_model(str(model_folder), dtype="float32", device="cpu")
    _, head = decoder_and_head(loaded.model)
    seen: list[bool] = []
    head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].is_contiguous()))
    loaded.model.generate(input_ids=torch.ones((3, 5), dtype=torch.long), max_new_tokens=2, do_sample=False)  # type: ignore[operator]
    assert seen == [True, True]


def test_a_run_whose_training_has_not_finished_is_refused_with_the_command_that_resumes_it(tmp_path: Path) -> None:
    for name in ("config.yaml", "data.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=r"has not finished.*rt train --config .*config\.yaml"):
        load_model(str(tmp_path))


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds neither a model"):
        load_model(str(tmp_path))
