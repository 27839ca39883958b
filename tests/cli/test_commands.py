"""Evaluations from the command line: several models, and what cannot run."""

import json
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.files import read_json
from tests.conftest import SHARED_DATA
from tests.evaluation.judges import KEY, SERVED, verdict
from tests.inference.faulty_server import serve

needs_shared_data = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory, no cached file and no network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAULTY_API_KEY", KEY)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.delenv(MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr("response_tuning.support.assets.cache_folder", lambda: tmp_path / "cache")


def words(text: str) -> str:
    return " ".join(text.split())


@needs_shared_data
def test_several_models_are_evaluated_each_into_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    with serve(lambda question, _: verdict(question, "REFUSAL") if "VERDICT" in question else "No.") as server:
        command = ["eval", "refusals", "openai-api/faulty/Llama-3.2-1B", "openai-api/faulty/Llama-3.2-3B"]
        options = ["--base-url", server.url, "--judge", SERVED, "--judge-base-url", server.url]
        assert main([*command, *options, "--sets", "advbench", "--max-examples", "2", "--offline"]) == 0
        # The judge is asked for each model: its verdicts are the model's own.
        assert len(server.asked) == 8
    printed = capsys.readouterr().out
    for name in ("Llama-3.2-1B", "Llama-3.2-3B"):
        saved = read_json(tmp_path / "runs" / f"base-{name}" / "evaluations" / "refusals" / "metrics.json")
        assert saved["settings"]["model"] == f"openai-api/faulty/{name}"
        assert saved["metrics"]["rates"]["advbench"]["refusal"]["value"] == 1.0
        assert f"openai-api/faulty/{name}, decided by {SERVED}" in words(printed)


def test_one_output_for_several_models_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "refusals", "a", "b", "--output", "out"]) == 2
    assert "--output is for one model" in capsys.readouterr().err


def test_no_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main(["eval", "just"])
    except SystemExit as exit_:  # tyro's own
        code = int(exit_.code or 0)
    captured = capsys.readouterr()
    assert code == 2
    assert "model" in (captured.out + captured.err).lower()


def test_alpaca_and_just_print_their_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [{"instruction": f"Name river {n}.", "output": "Rhine.", "generator": "other"} for n in range(3)]
    (tmp_path / "reference.json").write_text(json.dumps(outputs), encoding="utf-8")
    prompts = [{"instruction": "Poison?", "category": "safety"}, {"instruction": "Tea?", "category": "regular"}]
    (tmp_path / "prompts.json").write_text(json.dumps(prompts), encoding="utf-8")
    five = "helpfulness=5 clarity=5 factuality=5 depth=5 engagement=5"

    def reply(question: str, _: int) -> str:
        if "VERDICT" not in question:
            return "Tea."
        return verdict(question, "TIE" if "answer A" in question else "safety=5" if "Poison?" in question else five)

    with serve(reply) as server:
        judge = ["--base-url", server.url, "--judge", SERVED, "--judge-base-url", server.url, "--offline"]
        assert main(["eval", "alpaca", SERVED, "--reference", "reference.json", "--max-examples", "3", *judge]) == 0
        assert main(["eval", "just", SERVED, "--prompts", "prompts.json", *judge]) == 0
    printed = words(capsys.readouterr().out)
    assert "against reference.json, 3 instructions" in printed
    assert "0, 0, 3" in printed
    assert "average of the six │ 5.00" in printed


def test_everything_that_cannot_run_is_named_and_the_rest_runs(
    tmp_path: Path, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "all", str(model_folder), "--max-examples", "6", "--data-dir", str(tmp_path), "--offline"]
    assert main([*arguments, "--judge", SERVED, "--judge-base-url", "http://127.0.0.1:9/v1", "--retries", "0"]) == 2
    printed = words(capsys.readouterr().err)
    assert (
        "ifeval, core, refusals, alpaca, just, mt-bench, infobench could not run; the reasons are printed above."
        in printed
    )
    assert "ifeval could not run: The file ifeval/input_data.jsonl is not here." in printed
    assert (tmp_path / "runs" / "base-tiny" / "evaluations" / "probe" / "metrics.json").exists()


@pytest.mark.parametrize(
    "name", ["probe", "core", "ifeval", "refusals", "alpaca", "just", "infobench", "all", "agreement"]
)
def test_every_evaluation_shows_examples(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["eval", name, "--help"])
    assert exit_.value.code == 0
    printed = words(capsys.readouterr().out.replace("│", " "))
    assert f"rt eval {name} " in printed or f"rt {name} " in printed
