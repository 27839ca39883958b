"""The command line: what a person sees when something is wrong."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from response_tuning.cli.command import Command
from response_tuning.cli.commands import GROUPS, commands_of
from response_tuning.cli.main import main
from response_tuning.runs.folder import RunDirectory
from response_tuning.training.training_config import TrainingConfig


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and everything printed, on one line."""
    try:
        code = main(arguments)
    except SystemExit as exit_:  # tyro's own
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    return code, " ".join((captured.out + captured.err).replace("│", " ").split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text('{"prompt": "p", "completion": "c"}\n' * 10)
    return path


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"]])
def test_help_answers_in_half_a_second_without_loading_torch(arguments: list[str]) -> None:
    code = (
        "import sys; from response_tuning.cli.main import main\n"
        f"try: main({arguments})\nfinally: assert 'torch' not in sys.modules"
    )
    floor = min(processor_seconds("import pydantic, tyro, yaml") for _ in range(3))
    # On a machine that is slow or busy, in proportion to what the libraries alone take there.
    assert min(processor_seconds(code) for _ in range(3)) < max(0.5, 4 * floor)


def processor_seconds(code: str) -> float:
    """The processor time of a Python process. The time that passes depends on what else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_the_first_screen_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) < 80
    printed = " ".join(lines)
    assert all(name in printed for name in (*commands_of(""), *GROUPS))
    assert all(option in printed for option in ("--config", "--quiet", "--verbose", "--debug"))


def test_no_command_is_an_error_that_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert (captured.out, "quickstart" in captured.err) == ("", True)


def test_a_group_lists_its_commands_and_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "data", "--help")[0] == 0
    code, printed = run(capsys, "data", "prepair", "a.jsonl")
    assert (code, "Did you mean 'rt data prepare'?" in printed) == (2, True)


def test_a_command_may_name_its_options_and_they_are_imported_when_asked_for() -> None:
    named = Command("train", "response_tuning.training.training_config:TrainingConfig", print)
    assert named.config_type is TrainingConfig
    assert Command("train", TrainingConfig, print).config_type is TrainingConfig
    assert Command("train", lambda: TrainingConfig, print).config_type is TrainingConfig
    assert named.line == "Tune a base model on responses alone (rt), or on instruction-response pairs (it)"


@pytest.mark.parametrize(
    "command",
    [
        *(
            "quickstart",
            "train",
            "probe",
            "chat",
            "export",
            "eval all",
            "eval agreement",
            "data prepare",
            "data check",
            "data refine",
            "data mix-refusals",
        ),
        *(
            "eval probe",
            "eval core",
            "eval ifeval",
            "eval refusals",
            "eval alpaca",
            "eval just",
            "eval selective",
            "compare",
        ),
        *("data non-instructional", "data single-task", "data roles-and-rules", "data extract"),
    ],
)
def test_every_command_shows_examples_and_describes_every_option(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    code, printed = run(capsys, *command.split(), "--help")
    assert code == 0
    assert f"rt {command}" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--output", "OUT", "--data", "none.jsonl"], "There is no file none.jsonl"),
        (["train", "--output", "OUT", "--learning-rat", "1"], "--learning-rate"),
        (["train", "--output", "OUT", "--epochs", "many"], "--epochs"),
        (
            ["train", "--output", "OUT", "--epochs", "0"],
            "error: --epochs is 0: it should be greater than or equal to 1.",
        ),
        (["train", "--output", "OUT", "--method", "sft"], "--method"),
        (["train"], "--output"),
        (["train", "--output", "OUT", "--preset", "papers"], "--preset"),
        (["train", "--output", "OUT", "--patience", "2"], "need --held-out"),
        (["export", "none", "--output", "OUT"], "none"),
        (["eval", "refusals"], "Name at least one model"),
        (["eval", "probe", "a", "b", "--output", "OUT"], "--output is for one model"),
        (["eval", "probe", "embedded", "--output", "/dev/null/out"], "/dev/null is a file. Choose another --output"),
        (["compare", "runs/one"], "Name at least two runs"),
        (["trian", "--output", "OUT"], "trian"),
        (["train", "--output", "OUT", "--config", "none.yaml"], "There is no configuration file none.yaml"),
        (["train", "--output", "OUT", "--config"], "--config needs"),
        (["train", "--output", "OUT", "--model", "no/such-model"], "There is no model 'no/such-model'"),
        (["train", "--output", "OUT", "--model", "bad name!"], "There is no model 'bad name!'"),
        (["train", "--output", "OUT", "--model", "embeded"], "Did you mean 'embedded'?"),
        (["train", "--output", "OUT", "--model", "mistral/small"], "this name is hub:mistral/small"),
        (["probe", "openai/gpt-5-mini"], "Inspect AI's provider 'openai', which only answers questions"),
        (["chat", "openai/gpt-5-mini"], "Inspect AI's provider 'openai', which only answers questions"),
        (["quickstart", "--output", "OUT", "--model", "no/such-model"], "There is no model 'no/such-model'"),
        (["train", "--output", "OUT", "--model", "none.gguf"], "There is no model file none.gguf"),
        (["train", "--model", "MODEL", "--output", "/proc/run"], "cannot read or write /proc/run"),
        (["train", "--model", "MODEL", "--output", "/dev/null/run"], "cannot read or write /dev/null/run"),
        (["train", "--output", "/dev/null"], "/dev/null exists and holds something else"),
        (["chat", "MODEL", "--device", "cuda"], "has no device 'cuda'"),
        (["probe", "no/such-model"], "There is no model 'no/such-model'"),
        (["probe", "embedded", "--data", "none.jsonl"], "There is no file none.jsonl"),
        (["chat", "."], "holds neither a model"),
        (["data"], "prepare"),
        (["data", "prepair", "a.jsonl"], "prepair"),
        (["data", "prepare", "none.jsonl", "--output", "OUT.jsonl"], "There is no file none.jsonl"),
        (["data", "prepare", "lima", "--output", "OUT.jsonl", "--offline"], "lima/train.jsonl is not here"),
        (["data", "check", "none.jsonl", "--model", "none"], "There is no file none.jsonl"),
        (["data", "check", "starter", "--model", "none.gguf"], "There is no model file none.gguf"),
        (["data", "check", "starter", "--model", "none", "--against", "none"], "There is no evaluation set 'none'"),
        (["data", "refine", "none.jsonl", "--output", "OUT.jsonl"], "There is no file none.jsonl"),
        (["data", "refine", "starter", "--output", "OUT.jsonl", "--model", "nobody/x"], "There is no model 'nobody/x'"),
        (
            ["data", "refine", "starter", "--output", "OUT.jsonl", "--concurrency", "0"],
            "error: --concurrency is 0: it should be",
        ),
        (["data", "mix-refusals", "starter", "--count", "99", "--output", "OUT.jsonl"], "has 60 refusals"),
        (
            ["data", "mix-refusals", "starter", "--count", "-1", "--output", "OUT.jsonl"],
            "error: --count is -1: it should be greater than or equal to 0.",
        ),
        (["data", "non-instructional", "none", "--output", "OUT.jsonl"], "There is no"),
        (["data", "single-task", "poetry", "--output", "OUT.jsonl"], "name a --file"),
        (["data", "single-task", "poems", "--output", "OUT.jsonl"], "poems"),
        (["data", "roles-and-rules", "none.jsonl", "--output", "OUT.jsonl"], "There is no file none.jsonl"),
        (["quickstart", "--held-out", "none.jsonl", "--output", "OUT"], "There is no file none.jsonl"),
    ],
)
def test_bad_input_is_one_clear_message_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model_folder: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("response_tuning.support.assets.cache_folder", lambda: tmp_path / "cache")
    code, printed = run(capsys, *(str(model_folder) if argument == "MODEL" else argument for argument in arguments))
    assert code == 2
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "OUT").exists()


def test_no_library_speaks_beside_us(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "response_tuning", "train", "--data", "none.jsonl", "--output", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", "error: There is no file none.jsonl.\n")


def test_a_row_without_completion_is_named(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    data.write_text('{"completion": "c"}\n{"prompt": "p"}\n{"completion": \n')
    code, printed = run(capsys, "train", "--output", str(data.parent / "run"), "--data", str(data))
    assert code == 2
    assert f"{data}:2: has no field 'completion'" in printed.replace(" data.jsonl", "data.jsonl")
    assert "3: is not valid JSON" in printed
    assert not (data.parent / "run").exists()


def test_it_without_prompts_is_refused(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    data.write_text('{"completion": "c"}\n')
    arguments = ["train", "--method", "it", "--output", str(data.parent / "run"), "--data", str(data)]
    code, printed = run(capsys, *arguments)
    assert code == 2
    assert "1 of 1 rows have no prompt" in printed


def test_a_wrong_option_in_a_configuration_file_is_named_by_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("epochs: 2\nlora_rnk: 4\n")
    code, printed = run(capsys, "train", "--output", str(tmp_path / "run"), "--config", str(config))
    assert code == 2
    assert "c.yaml:2: there is no option 'lora_rnk'; did you mean 'lora_rank'?" in printed


def test_a_full_disk_is_said_and_leaves_no_adapter(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from response_tuning.training import trainer

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, os.strerror(28), str(tmp_path / "run" / "adapter"))

    monkeypatch.setattr(trainer, "write_chat_files", full)
    model = ["--model", str(model_folder), "--data", str(data), "--epochs", "1"]
    code, printed = run(capsys, "train", "--output", str(tmp_path / "run"), *model)
    assert code == 2
    assert "no space left on device" in printed
    assert not (tmp_path / "run" / "adapter").exists()


def test_options_on_the_command_line_come_before_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, model_folder: Path, data: Path
) -> None:
    import yaml

    config = tmp_path / "c.yaml"
    config.write_text(f"epochs: 2\nlora_rank: 4\nmodel: {model_folder}\ndata: {data}\ndevice: cpu\n")
    arguments = ["train", "--config", str(config), "--epochs", "1", "--output", str(tmp_path / "run")]
    assert run(capsys, *arguments)[0] == 0
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (written["epochs"], written["lora_rank"]) == (1, 4)


def test_data_are_prepared_and_checked_from_one_command_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    table, prepared, fixed = tmp_path / "a.csv", tmp_path / "a.jsonl", tmp_path / "fixed.jsonl"
    table.write_text("question,reply\nHow?,Slowly.\nHow?,Slowly.\nWhen?,\n")
    arguments = ["data", "prepare", str(table), "--completion-field", "reply", "--prompt-field", "question"]
    code, printed = run(capsys, *arguments, "--output", str(prepared))
    assert (code, prepared.exists()) == (2, False)
    assert "has no field 'reply'" in printed
    code, printed = run(capsys, *arguments, "--output", str(prepared), "--bad-rows", "drop")
    assert code == 0
    assert "2 examples of 3 rows written" in printed
    code, printed = run(capsys, "data", "check", str(prepared), "--model", "none", "--fix", str(fixed))
    assert code == 0
    assert "1 duplicate" in printed
    assert fixed.read_text() == '{"completion": "Slowly.", "prompt": "How?"}\n'


def test_a_configuration_file_serves_a_command_of_two_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config, output = tmp_path / "c.yaml", tmp_path / "out.jsonl"
    config.write_text(f"source: starter\nmax_examples: 5\noutput: {output}\n")
    assert run(capsys, "data", "prepare", "--config", str(config), "starter-held-out", "--seed", "3")[0] == 0
    assert len(output.read_text().splitlines()) == 5


def test_a_preset_sets_defaults_that_a_file_and_the_command_line_override(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[TrainingConfig] = []

    def train(config: TrainingConfig) -> RunDirectory:
        received.append(config)
        return RunDirectory(tmp_path)

    monkeypatch.setattr("response_tuning.training.trainer.train", train)
    (tmp_path / "own.yaml").write_text("preset: hewitt\nepochs: 15\n", encoding="utf-8")
    options = ["train", "--output", str(tmp_path / "run")]
    assert main([*options, "--preset", "paper", "--epochs", "2", "--no-gradient-checkpointing"]) == 0
    assert main([*options, "--config", str(tmp_path / "own.yaml"), "--learning-rate", "3e-5"]) == 0
    paper, hewitt = received
    assert (
        paper.adapter.tuning,
        paper.adapter.lora_rank,
        paper.batches.epochs,
        paper.memory.gradient_checkpointing,
    ) == ("qlora", 64, 2, False)
    assert (hewitt.adapter.tuning, hewitt.encoding.rt_prefix) == ("full", "empty_user")
    assert (hewitt.batches.epochs, hewitt.optimization.learning_rate) == (15, 3e-5)


class TestVerbosity:
    """``--quiet``, ``--verbose`` and ``--debug`` are taken wherever they are typed."""

    def test_quiet_prints_errors_and_nothing_else(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path
    ) -> None:
        output = tmp_path / "out.jsonl"
        assert main(["data", "prepare", str(data), "--quiet", "--output", str(output)]) == 0
        assert capsys.readouterr().err == ""
        assert main(["--quiet", "data", "prepare", "none.jsonl", "--output", str(output)]) == 2
        assert "error: There is no file none.jsonl" in capsys.readouterr().err
        assert main(["data", "prepare", str(data), "--output", str(output)]) == 0
        assert "rt data check" in capsys.readouterr().err

    def test_debug_prints_the_traceback_behind_an_error(
        self, capsys: pytest.CaptureFixture[str], tmp_path: Path
    ) -> None:
        arguments = ["data", "prepare", "none.jsonl", "--output", str(tmp_path / "out.jsonl")]
        assert main(arguments) == 2
        assert "Traceback" not in capsys.readouterr().err
        assert main([*arguments, "--debug"]) == 2
        printed = capsys.readouterr().err
        assert "Traceback" in printed
        assert printed.rstrip().endswith("error: There is no file none.jsonl.")

    def test_verbose_prints_what_libraries_log(self) -> None:
        code = (
            "import logging; from response_tuning.cli.main import main\n"
            "main([{options}'data', 'prepare', 'none.jsonl', '--output', 'out.jsonl'])\n"
            "logging.getLogger('a_library').info('loading')"
        )
        printed = [
            subprocess.run(
                [sys.executable, "-c", code.format(options=options)], capture_output=True, text=True, check=True
            ).stderr
            for options in ("", "'--verbose', ")
        ]
        assert ["a_library: loading" in text for text in printed] == [False, True]
        assert [text.count("There is no file") for text in printed] == [1, 1]

    def test_quiet_and_verbose_contradict_each_other(self, capsys: pytest.CaptureFixture[str]) -> None:
        code, printed = run(capsys, "train", "--quiet", "--verbose", "--output", "OUT")
        assert (code, "contradict" in printed) == (2, True)
