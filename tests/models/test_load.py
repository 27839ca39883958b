"""Model specs, and the import that must survive interruption and company."""

from pathlib import Path

import pytest
import torch

from response_tuning.models import load as models
from response_tuning.models.load import decoder_and_head, load_model, load_without_weights
from response_tuning.support.errors import UserError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty user cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "response-tuning" / "models"


def write_fake_model(_source: Path, folder: Path) -> None:
    """Stands for the conversion, which the end-to-end test does for real."""
    (folder / "config.json").write_text("{}")


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    return path


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
    """A view with gaps would make PyTorch copy the head's weights once per row (models.py says more)."""
    loaded = load_model(str(model_folder), dtype="float32", device="cpu")
    _, head = decoder_and_head(loaded.model)
    seen: list[bool] = []
    head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].is_contiguous()))
    loaded.model.generate(input_ids=torch.ones((3, 5), dtype=torch.long), max_new_tokens=2, do_sample=False)  # type: ignore[operator]
    assert seen == [True, True]


def test_an_import_happens_once(cache: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_convert_gguf", write_fake_model)
    first = models.resolve_model(str(gguf))
    monkeypatch.setattr(models, "_convert_gguf", None)  # would fail if it were called
    assert models.resolve_model(str(gguf)) == first
    assert Path(first).parent == cache


def test_another_file_of_the_same_name_is_another_model(
    cache: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_convert_gguf", write_fake_model)
    first = models.resolve_model(str(gguf))
    gguf.write_bytes(b"GGUF2")
    assert models.resolve_model(str(gguf)) != first
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_an_interrupted_import_leaves_nothing_a_later_one_trips_over(
    cache: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_source: Path, folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        models.resolve_model(str(gguf))
    assert not [path for path in cache.iterdir() if path.is_dir()]
    monkeypatch.setattr(models, "_convert_gguf", write_fake_model)
    assert (Path(models.resolve_model(str(gguf))) / "config.json").exists()


@pytest.mark.usefixtures("cache")
def test_what_a_killed_import_left_is_cleared_away(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_convert_gguf", write_fake_model)
    target = Path(models.resolve_model(str(gguf)))
    leftover = target.with_name(f".{target.name}.partial-killed")
    target.rename(leftover)
    models.resolve_model(str(gguf))
    assert not leftover.exists()
    assert target.exists()


def test_two_imports_at_once_convert_once(cache: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    conversions: list[Path] = []
    barrier = Barrier(2)

    def slow(source: Path, folder: Path) -> None:
        conversions.append(folder)
        write_fake_model(source, folder)

    def resolve() -> str:
        barrier.wait()
        return models.resolve_model(str(gguf))

    monkeypatch.setattr(models, "_convert_gguf", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(resolve) for _ in range(2))
        assert first.result() == second.result()
    assert len(conversions) == 1
    assert cache.exists()


def test_a_damaged_gguf_file_is_refused(cache: Path, gguf: Path) -> None:
    with pytest.raises(UserError, match=r"model.gguf cannot be loaded"):
        models.resolve_model(str(gguf))
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_a_run_whose_training_has_not_finished_is_refused_with_the_command_that_goes_on(tmp_path: Path) -> None:
    for name in ("config.yaml", "data.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(UserError, match=r"has not finished.*rt train --config .*config\.yaml"):
        load_model(str(tmp_path))


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds neither a model"):
        load_model(str(tmp_path))
