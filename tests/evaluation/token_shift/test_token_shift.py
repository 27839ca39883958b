"""``rt probe --tokens``: every kind of run against its base model, saved, read again, and shown in the compare page."""

from pathlib import Path
from typing import Any

import pytest

from response_tuning.cli.main import main
from response_tuning.data.demonstrations.in_context_config import InContextConfig
from response_tuning.data.demonstrations.make_in_context import make_in_context
from response_tuning.evaluation.compare.compare import compare
from response_tuning.evaluation.compare.compare_config import CompareConfig
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.token_shift.token_shift import TokenShift, probe_tokens
from response_tuning.example import Example
from response_tuning.runs.load import load_run
from response_tuning.runs.rules.make_rules import make_rules
from response_tuning.runs.rules.rule_file import PiecesRule, write_rules
from response_tuning.runs.rules.rules_config import RulesConfig
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines, write_json, write_json_lines
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from tests.study.test_report import _Checker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> Path:
    """Data of four pairs, and runs of every kind: by rules, by rules that change nothing, in context, and trained."""
    folder = tmp_path_factory.mktemp("shift")
    rows = [{"prompt": each.prompt, "completion": each.completion[:60]} for each in examples[:4]]
    write_json_lines(folder / "data.jsonl", rows)
    write_rules(folder / "same.yaml", {"nothing": PiecesRule(weights={"e": 0.0})})
    model = str(model_folder)
    make_rules(RulesConfig(model=model, output=folder / "rules"))
    make_rules(RulesConfig(model=model, output=folder / "same", config=folder / "same.yaml"))
    (folder / "preamble.txt").write_text("Queries and answers follow.")
    make_in_context(
        InContextConfig(
            model=model,
            output=folder / "in-context",
            style="response",
            demonstrations=str(folder / "data.jsonl"),
            count=1,
            preamble=folder / "preamble.txt",
        )
    )
    for tuning in ("lora", "full"):
        options: dict[str, Any] = {"batch_size": 4, "epochs": 2, "learning_rate": 0.05, "tuning": tuning}
        train(
            TrainingConfig(
                output=folder / tuning,
                model=model,
                data=str(folder / "data.jsonl"),
                dtype="float32",
                device="cpu",
                **options,
            )
        )
    return folder


def shift(folder: Path, run: str, **options: Any) -> TokenShift:
    return probe_tokens(
        ProbeConfig(
            model=str(folder / run),
            data=str(folder / "data.jsonl"),
            max_new_tokens=12,
            tokens=True,
            dtype="float32",
            device="cpu",
            **options,
        )
    )


@pytest.mark.parametrize("run", ["rules", "lora", "full", "in-context"])
def test_a_run_differs_from_its_base_on_its_own_responses(folder: Path, run: str) -> None:
    result = shift(folder, run)
    assert result.metrics["unshifted"].value < 1
    assert result.metrics["kl"].value > 0.01
    rates = [result.metrics[name].value for name in ("unshifted", "marginal", "shifted")]
    assert sum(rates) == pytest.approx(1, abs=1e-3)
    saved = read_json(folder / run / "evaluations" / "token_shift" / "metrics.json")
    assert saved["base"] == result.base
    rows = read_json_lines(folder / run / "evaluations" / "token_shift" / "responses.jsonl")
    answers = load_run(folder / run, dtype="float32", device="cpu").generate(
        [row["prompt"] for row in rows], max_new_tokens=12
    )
    assert [row["response"] for row in rows] == [answer.text for answer in answers]
    tokens = [token for row in rows for token in row["tokens"]]
    # Different ids may have one text, such as that of half a character.
    assert 0 < result.own_choices <= sum(token[0] == token[1] for token in tokens) / len(tokens) + 1e-4
    assert sum(each.n for each in result.bins) == len(tokens)


def test_rules_that_change_nothing_shift_nothing(folder: Path) -> None:
    result = shift(folder, "same")
    assert (result.metrics["unshifted"].value, result.metrics["kl"].value) == (1.0, 0.0)
    assert result.tokens == []
    lengths = [len(row["tokens"]) for row in result.rows]
    assert result.metrics["first_divergence"].value == pytest.approx(sum(lengths) / len(lengths), abs=1e-3)


def test_two_runs_read_the_same_responses_on_request(folder: Path, tmp_path: Path) -> None:
    of_references = [shift(folder, run, tokens_on="references", output=tmp_path / run) for run in ("rules", "lora")]
    texts = [[row["response"] for row in result.rows] for result in of_references]
    assert texts[0] == texts[1] == [row["completion"] for row in of_references[0].rows]
    tokens = [[token[0] for row in result.rows for token in row["tokens"]] for result in of_references]
    assert tokens[0] == tokens[1]
    with pytest.raises(UserError, match="Probe it first"):
        shift(folder, "rules", tokens_on=str(folder / "full"), output=tmp_path / "other")
    probed = [
        {"prompt": row["prompt"], "response": "Water.", "token_count": 3, "stops": True}
        for row in read_json_lines(folder / "data.jsonl")
    ]
    write_json_lines(folder / "full" / "evaluations" / "probe" / "responses.jsonl", probed[:3])
    with pytest.raises(UserError, match="no response to 1 instructions"):
        shift(folder, "rules", tokens_on=str(folder / "full"), output=tmp_path / "other")
    write_json_lines(folder / "full" / "evaluations" / "probe" / "responses.jsonl", probed)
    result = shift(folder, "rules", tokens_on=str(folder / "full"), output=tmp_path / "other")
    assert {row["response"] for row in result.rows} == {"Water."}


def test_a_finished_result_is_read_again(folder: Path) -> None:
    first = shift(folder, "rules")
    path = folder / "rules" / "evaluations" / "token_shift" / "metrics.json"
    written = path.stat().st_mtime_ns
    second = shift(folder, "rules")
    assert path.stat().st_mtime_ns == written
    assert (second.metrics, second.bins, second.tokens) == (first.metrics, first.bins, first.tokens)


def test_the_command_prints_rates_and_tokens(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(folder / "data.jsonl"), "--max-new-tokens", "12", "--dtype", "float32", "--device", "cpu"]
    assert main(["probe", str(folder / "rules"), "--tokens", *options]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "unshifted" in printed
    assert "tokens that are shifted most often" in printed


def test_a_model_that_was_made_from_no_other_has_nothing_to_compare_with(
    folder: Path, model_folder: Path, tmp_path: Path
) -> None:
    config = ProbeConfig(
        model=str(model_folder), data=str(folder / "data.jsonl"), tokens=True, output=tmp_path, device="cpu"
    )
    with pytest.raises(UserError, match="made from no other model"):
        probe_tokens(config)
    with pytest.raises(UserError, match="Leave out --formats and --checkpoints"):
        shift(folder, "rules", formats=True)


def test_the_compare_page_has_a_figure_and_a_table_for_each_run(folder: Path, tmp_path: Path) -> None:
    for run in ("rules", "lora"):
        shift(folder, run)
    runs = (str(folder / "rules"), str(folder / "lora"))
    comparison = compare(CompareConfig(runs=runs, tasks=("token_shift",), report=tmp_path / "page.html"))
    compared = comparison.tasks["token_shift"].metrics
    assert list(compared) == ["unshifted", "marginal", "shifted", "kl", "first_divergence"]
    assert set(compared["kl"].differences) == {"lora"}
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    _Checker().feed(page)
    for run in ("rules", "lora"):
        assert f'aria-label="{run}: rates by position in the response"' in page
        assert f"<th>token that {run} chooses</th>" in page
        saved = read_json(folder / run / "evaluations" / "token_shift" / "metrics.json")
        assert page.count("n = ") == sum(
            4 * len(read_json(folder / each / "evaluations" / "token_shift" / "metrics.json")["bins"])
            for each in ("rules", "lora")
        )
        assert f"{100 * saved['metrics']['unshifted']['value']:.0f}% unshifted" in page


def test_rules_that_were_edited_since_are_pointed_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("same", "lora"):
        shift(folder, run)
    file = folder / "same" / "rules.yaml"
    before = file.read_text(encoding="utf-8")
    file.write_text(before.replace("0.0", "0.5"), encoding="utf-8")
    compare(CompareConfig(runs=(str(folder / "lora"), str(folder / "same")), tasks=("token_shift",)))
    file.write_text(before, encoding="utf-8")
    assert "same changed since" in " ".join(capsys.readouterr().err.split())


def test_tokens_are_shown_as_text_and_never_as_markup(folder: Path, tmp_path: Path) -> None:
    path = folder / "lora" / "evaluations" / "token_shift" / "metrics.json"
    shift(folder, "lora")
    shift(folder, "rules")
    saved = read_json(path)
    saved["tokens"] = [{"text": "<script>\n", "instead": " &", "shifted": 2, "chosen": 3}]
    write_json(path, saved)
    runs = (str(folder / "rules"), str(folder / "lora"))
    compare(CompareConfig(runs=runs, tasks=("token_shift",), report=tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;\\n" in page
