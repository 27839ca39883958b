"""``import response_tuning as rt``: quick, silent, and complete."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict

import response_tuning as rt
from response_tuning.evaluation import evaluate as evaluate_module
from response_tuning.support.errors import UserError


def test_every_public_name_is_there_and_listed() -> None:
    assert sorted(rt.__all__) == rt.__all__
    assert set(rt.__all__) <= set(dir(rt))
    for name in rt.__all__:
        assert callable(getattr(rt, name))
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        rt.trian  # noqa: B018


def test_importing_it_loads_no_model_library_and_takes_no_time() -> None:
    code = (
        "import sys, time; started = time.process_time(); import response_tuning; "
        "assert time.process_time() - started < 0.05; "
        "assert not {'torch', 'transformers', 'pydantic', 'rich'} & set(sys.modules); response_tuning.TrainingConfig; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_library_prints_nothing_until_the_program_asks_for_it(tmp_path: Path) -> None:
    code = (
        "import logging; {setup}; from response_tuning.support.progress import progress_bar, say, warn\n"
        "say('loading'); warn('careful')\n"
        "with progress_bar('working', 3) as bar: bar.advance(3)\n"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", code.format(setup=setup)], capture_output=True, text=True, check=True, cwd=tmp_path
        )
        for setup in ("pass", "logging.basicConfig(level=logging.INFO)")
    ]
    assert [process.stdout for process in printed] == ["", ""]
    assert printed[0].stderr == ""
    assert printed[1].stderr == "INFO:response_tuning:loading\nWARNING:response_tuning:careful\n"


def test_loading_models_mutes_nobody() -> None:
    code = (
        "import logging, warnings; filters = list(warnings.filters)\n"
        "from transformers.utils import logging as theirs\n"
        "before = theirs.get_verbosity(), theirs.is_progress_bar_enabled()\n"
        "import response_tuning.models.load, response_tuning.runs.load\n"
        "assert before == (theirs.get_verbosity(), theirs.is_progress_bar_enabled())\n"
        "assert logging.getLogger('bitsandbytes').level == logging.NOTSET\n"
        "assert not [filter for filter in warnings.filters if 'transformers' in str(filter[3])]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_package_is_marked_as_typed() -> None:
    assert rt.__file__ is not None
    assert (Path(rt.__file__).parent / "py.typed").is_file()


class _CountConfig(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str
    times: int = 1


@dataclass
class _Count:
    config = _CountConfig

    @staticmethod
    def run(config: _CountConfig) -> str:
        return config.model * config.times


def test_an_evaluation_is_run_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate_module, "find_evaluation", {"count": _Count}.__getitem__)
    assert rt.evaluate("count", "ab", times=2) == "abab"
    with pytest.raises(UserError, match="did you mean 'times'"):
        rt.evaluate("count", "ab", tims=2)
