"""The import of GGUF files, which must survive interruption and other processes."""

from pathlib import Path

import pytest

from response_tuning.models import embedded
from response_tuning.models.load import resolve_model
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


def test_an_import_happens_once(cache: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_convert_gguf", write_fake_model)
    first = resolve_model(str(gguf))
    monkeypatch.setattr(embedded, "_convert_gguf", None)  # would fail if it were called
    assert resolve_model(str(gguf)) == first
    assert Path(first).parent == cache


def test_another_file_of_the_same_name_is_another_model(
    cache: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_convert_gguf", write_fake_model)
    first = resolve_model(str(gguf))
    gguf.write_bytes(b"GGUF2")
    assert resolve_model(str(gguf)) != first
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_an_interrupted_import_leaves_nothing_a_later_one_trips_over(
    cache: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_source: Path, folder: Path) -> None:
        (folder / "half").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(embedded, "_convert_gguf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resolve_model(str(gguf))
    assert not [path for path in cache.iterdir() if path.is_dir()]
    monkeypatch.setattr(embedded, "_convert_gguf", write_fake_model)
    assert (Path(resolve_model(str(gguf))) / "config.json").exists()


@pytest.mark.usefixtures("cache")
def test_what_a_killed_import_left_is_cleared_away(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_convert_gguf", write_fake_model)
    target = Path(resolve_model(str(gguf)))
    leftover = target.with_name(f".{target.name}.partial-killed")
    target.rename(leftover)
    resolve_model(str(gguf))
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
        return resolve_model(str(gguf))

    monkeypatch.setattr(embedded, "_convert_gguf", slow)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(resolve) for _ in range(2))
        assert first.result() == second.result()
    assert len(conversions) == 1
    assert cache.exists()


def test_a_damaged_gguf_file_is_refused(cache: Path, gguf: Path) -> None:
    with pytest.raises(UserError, match=r"model.gguf cannot be loaded"):
        resolve_model(str(gguf))
    assert not [path for path in cache.iterdir() if path.is_dir()]
