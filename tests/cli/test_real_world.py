"""Jobs in the real world: closed pipes, several models, bad bytes, names with brackets, files that are inputs too."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.table import Table

from response_tuning.cli.command import print_result
from response_tuning.cli.main import main
from response_tuning.cli.options import parse_options
from response_tuning.evaluation.shared.evaluation_options import JudgeOptions
from response_tuning.evaluation.shared.statistics import Estimate
from response_tuning.evaluation.shared.table import metrics_table
from response_tuning.example import Example, write_examples
from response_tuning.support import extras, progress
from response_tuning.support.configuration import flatten, read_values, write_config
from response_tuning.support.errors import UserError
from response_tuning.support.progress import progress_bar
from response_tuning.training.presets import preset_values
from response_tuning.training.training_config import TrainingConfig
from tests.conftest import SHARED_DATA
from tests.quick_process import run_quickly

CASES = SHARED_DATA.parent / "cases"


def rt(*arguments: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "response_tuning", *arguments]
    return subprocess.run(command, capture_output=True, check=False, **options)  # type: ignore[call-overload,no-any-return]


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


@pytest.mark.parametrize("arguments", ["--help", "train --help", "--version"])
def test_a_pipe_that_closes_is_silence(tmp_path: Path, arguments: str) -> None:
    """The reader is gone before the first word."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "response_tuning", *arguments.split()]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    os.close(writing)
    assert ended.stderr == b""
    assert ended.returncode in (0, 1, 141)


class Test11YamlDuplicateKey:
    """An option that a file sets twice is refused, as it is in JSON."""

    def test_file_line_and_option_are_named(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        config = tmp_path / "run.yaml"
        config.write_text("epochs: 1\nlearning_rate: 1.0e-5\n# later\nlearning_rate: 5.0e-3\n", encoding="utf-8")
        assert main(["train", "--output", str(tmp_path / "run"), "--config", str(config)]) == 2
        assert f"{config}:4: option 'learning_rate' is set in line 2 already." in printed(capsys)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        "text", ["a: {b: 1, b: 2}\n", "a:\n- b: 1\n  b: 2\n", "? x\n: 1\n? x\n: 2\n", '"a": 1\na: 2\n']
    )
    def test_at_any_depth_and_however_written(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="is set in line"):
            read_values(tmp_path / "c.yaml", TrainingConfig)

    def test_two_files_are_refused(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", "--config", "a.yaml", "--output", str(tmp_path / "x"), "--config=b.yaml"]) == 2
        assert "--config is given twice: a.yaml and b.yaml." in printed(capsys)

    @pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the project")
    def test_the_case_itself(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        monkeypatch.chdir(CASES / "11-yaml-duplicate-key")
        assert main(["train", "--config", "run.yaml"]) == 2
        assert "run.yaml:7: option 'learning_rate' is set in line 4 already" in printed(capsys)


def test_preset_over_a_saved_configuration_is_what_is_saved(tmp_path: Path) -> None:
    """What is typed comes before a file, so the preset holds, and what it leaves open is the file's."""
    usual = TrainingConfig(output=tmp_path / "run", lora_rank=4, epochs=7, held_out="starter-held-out")
    write_config(tmp_path / "config.yaml", usual)
    again = parse_options(TrainingConfig, "rt train", ["--preset", "paper"], tmp_path / "config.yaml")
    written = flatten(again)
    paper = preset_values("paper")
    assert {name: written[name] for name in paper} == paper
    assert (written["preset"], written["held_out"]) == ("paper", "starter-held-out")
    typed = ["--preset", "paper", "--lora-rank", "8"]
    assert flatten(parse_options(TrainingConfig, "rt train", typed, tmp_path / "config.yaml"))["lora_rank"] == 8
    # From Python, where the given options come first, nothing of the preset is left.
    given = read_values(tmp_path / "config.yaml", TrainingConfig) | {"preset": "paper"}
    assert TrainingConfig(**given).preset == "none"
    assert TrainingConfig(output=tmp_path, preset="paper", epochs=2).preset == "paper"


def test_several_models_run_though_one_of_them_cannot(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []

    def run(config: object) -> None:
        name = str(getattr(config, "model", ""))
        asked.append(name)
        if "nosuch" in name:
            raise UserError("there is no such model")

    monkeypatch.setattr("response_tuning.evaluation.refusals.refusals.evaluate_refusals", run)
    assert main(["eval", "refusals", "nosuch/folder", str(model_folder), "./nosuch", str(model_folder)]) == 2
    assert asked == ["nosuch/folder", str(model_folder), "./nosuch", str(model_folder)]
    said = printed(capsys)
    assert "nosuch/folder: there is no such model" in said
    assert "error: 2 of 4 models failed, for the reasons above: nosuch/folder, ./nosuch" in said
    assert main(["eval", "refusals", "nosuch/folder"]) == 2
    assert printed(capsys) == "error: there is no such model"


@pytest.mark.parametrize("name", ["exp[lr=1e-4]", "[/x]", "a[bold]b", ":fire:", "[link=x]y[/link]"])
def test_names_in_brackets_are_no_markup(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_result(metrics_table({name: {"answers": Estimate(0.5, 2, 0.1, 0.9)}}))
    table = Table(title=name, caption=name)
    table.add_column(name)
    table.add_row(name)
    print_result(table)
    monkeypatch.setattr(progress, "_is_watched", lambda: True)
    with progress_bar(f"asking {name}", 1) as bar:
        bar.advance(note=name)
    captured = capsys.readouterr()
    assert captured.out.count(name) == 5
    assert captured.err.count(name) >= 2


def test_bad_bytes_in_a_chat_are_replaced(model_folder: Path) -> None:
    command = ["chat", str(model_folder), "--max-new-tokens", "2", "--device", "cpu"]
    ended = run_quickly([sys.executable, "-m", "response_tuning", *command], written=b"\xff\xfe x\n")
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr


def test_bad_bytes_in_an_argument_are_one_sentence(tmp_path: Path) -> None:
    ended = rt("train", "--output", str(tmp_path / "x"), "--data", os.fsdecode(b"caf\xe9.jsonl"))
    assert ended.returncode == 2
    assert (
        ended.stderr.decode() == "error: b'caf\\xe9.jsonl' is not valid UTF-8. Rename the file, or type it otherwise.\n"
    )


def test_bad_bytes_a_terminal_without_unicode_prints_what_it_can(tmp_path: Path) -> None:
    write_examples(tmp_path / "\u8336.jsonl", [Example(completion="Tea.")])
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    command = ["data", "prepare", str(tmp_path / "\u8336.jsonl"), "--output", str(tmp_path / "\u8336-2.jsonl")]
    ended = rt(*command, env=environment)
    assert (ended.returncode, b"Traceback" in ended.stderr) == (0, False), ended.stderr


def test_bad_bytes_and_one_example_are_no_traceback_in_any_evaluation(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("response_tuning.support.assets.cache_folder", lambda: tmp_path / "cache")
    assert (
        main(["eval", "all", str(model_folder), "--max-examples", "1", "--offline", "--data-dir", str(tmp_path)]) == 2
    )
    said = printed(capsys)
    assert "Traceback" not in said
    assert "probe could not run: --max-examples is 1: it should be greater than or equal to 2." in said


class TestOverwriting:
    """No command replaces its input."""

    @pytest.mark.parametrize(
        "arguments",
        [
            "data prepare a.jsonl --max-examples 1 --output a.jsonl",
            "data prepare a.jsonl --max-examples 1 --output link.jsonl",
            "data prepare a.jsonl --output ./sub/../a.jsonl",
            "data check a.jsonl --fix a.jsonl",
            "data check a.jsonl --report a.jsonl",
            "data check a.jsonl --fix b.jsonl --report b.jsonl",
            "data mix-refusals b.jsonl --refusals a.jsonl --count 1 --output a.jsonl",
            "data refine a.jsonl --output a.jsonl",
            "eval agreement a.jsonl --output a.jsonl",
            "data single-task chess --file a.jsonl --output a.jsonl",
            "data prepare --config c.yaml b.jsonl --output c.yaml",
        ],
    )
    def test_an_input_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("sub").mkdir()
        for name in ("a.jsonl", "b.jsonl"):
            write_examples(tmp_path / name, [Example(completion=f"{number} of {name}") for number in range(3)])
        Path("link.jsonl").symlink_to("a.jsonl")
        Path("c.yaml").write_text("seed: 1\n")
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert main(arguments.split()) == 2
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
        said = printed(capsys)
        assert "Choose another name" in said


def test_missing_extra_is_found_before_a_local_judge_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    from response_tuning.asking.ask import require_model_to_ask

    monkeypatch.setattr("response_tuning.support.extras.find_spec", lambda _name: None)
    (judge,) = JudgeOptions(judge="embedded-instruct").judges()
    with pytest.raises(UserError, match=r"needs the package inspect_ai: pip install 'response-tuning\[inspect\]'"):
        require_model_to_ask(judge)


@pytest.mark.parametrize("package", ["lm_eval", "nltk", "immutabledict", "langdetect"])
def test_missing_extra_is_found_before_the_model_is_loaded(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], package: str
) -> None:

    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else find_spec(name))
    monkeypatch.setattr("response_tuning.models.load.load_model", None)
    assert main(["eval", "ifeval", str(model_folder), "--offline"]) == 2
    assert f"IFEval needs the package {package}: pip install 'response-tuning[core]'" in printed(capsys)


def test_a_moved_model_and_moved_data_are_the_same_training(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative and absolute paths name the same model; data are compared by content."""
    from response_tuning.runs.folder import check_folder
    from response_tuning.training.training_config import CHANGES_NO_RUN

    shutil.copytree(model_folder, tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    first = TrainingConfig(output=Path("run"), model="m", data="a.jsonl", dtype="float32")
    write_config(tmp_path / "run" / "config.yaml", first)
    moved = TrainingConfig(output=tmp_path / "run", model=str(tmp_path / "m"), data="b.jsonl", dtype="float32")
    check_folder(tmp_path / "run", moved, ignore=CHANGES_NO_RUN)
    other = TrainingConfig(output=tmp_path / "run", model=str(model_folder), data="a.jsonl", dtype="float32")
    with pytest.raises(UserError, match="model: "):
        check_folder(tmp_path / "run", other, ignore=CHANGES_NO_RUN)
