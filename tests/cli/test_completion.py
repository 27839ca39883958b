"""Completion in a shell, and the list of the cache."""

import shutil
import subprocess
from pathlib import Path

import pytest

from response_tuning.cli import cache
from response_tuning.cli.commands import every_command
from response_tuning.cli.completion import completion_script
from response_tuning.cli.main import main


def completed(line: str, tmp_path: Path) -> set[str]:
    """What bash offers for the last word of a command line."""
    words = line.split(" ")
    script = tmp_path / "rt.bash"
    script.write_text(completion_script("bash", every_command()))
    typed = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {script}; COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; _rt; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    return set(subprocess.run(["bash", "-c", program], capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_options_and_choices(tmp_path: Path) -> None:
    assert completed("rt tr", tmp_path) == {"train"}
    assert completed("rt data pre", tmp_path) == {"prepare"}
    assert completed("rt train --max-l", tmp_path) == {"--max-length"}
    assert completed("rt train --tuning q", tmp_path) == {"qlora"}
    assert completed("rt data prepare rows.csv --lay", tmp_path) == {"--layout"}
    assert completed("rt train --data ", tmp_path) == set()  # a file, which bash completes


def test_every_shell_gets_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in ("bash", "zsh", "fish"):
        assert main(["completion", shell]) == 0
        assert "qlora" in capsys.readouterr().out


def test_the_cache_is_listed_and_removed_by_entry(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "user_cache", lambda: tmp_path / "cache")
    assert main(["cache"]) == 0
    (tmp_path / "cache" / "assets").mkdir(parents=True)
    (tmp_path / "cache" / "assets" / "file").write_bytes(b"x" * 2**20)
    assert main(["cache"]) == 0
    assert "1.0 MiB  assets" in capsys.readouterr().out
    assert main(["cache", "--remove", "models"]) == 2
    assert "It holds: assets" in capsys.readouterr().err
    assert main(["cache", "--remove", "assets"]) == 0
    assert list((tmp_path / "cache").iterdir()) == []
    assert main(["cache", "--remove", "../cache"]) == 2
