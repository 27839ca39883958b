"""AlpacaEval with judges whose taste is known: the win rates have to say so."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from math import exp, tanh
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.evaluation.alpaca import length_control
from response_tuning.evaluation.alpaca.alpaca_config import AlpacaConfig
from response_tuning.evaluation.alpaca.alpaca_eval import AlpacaResult, evaluate_alpaca
from response_tuning.evaluation.alpaca.alpaca_format import (
    ModelOutput,
    read_annotations,
    read_difficulties,
    read_model_outputs,
    write_model_outputs,
)
from response_tuning.evaluation.alpaca.length_control import METHOD, METHOD_NO_ANCHORS, length_controlled_win_rate
from response_tuning.support.assets import ASSETS, MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from tests.conftest import SHARED_DATA
from tests.evaluation.judges import SERVED, section, verdict
from tests.inference.faulty_server import FaultyServer, Reply, serve

REFERENCE = [
    ModelOutput(
        instruction=f"Write about river {number}.", output="It flows. " * number, generator="other", dataset="d"
    )
    for number in range(1, 7)
]
"""Outputs of 10 to 60 characters; the model's have 35."""
OUTPUT = "A river, thirty-five letters long.."


def longer(question: str, _: int) -> str:
    first, second = (len(section(question, f"answer {name}")) for name in "AB")
    return verdict(question, "TIE" if first == second else "A" if first > second else "B")


def says(word: str) -> Reply:
    return lambda question, _: verdict(question, word)


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Only what a test puts there can be had."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv(MIRROR_VARIABLE, str(folder))
    monkeypatch.setattr("response_tuning.support.assets.cache_folder", lambda: tmp_path / "cache")
    return folder


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(length_control, "_RESAMPLES", 40)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "reference.json"
    write_model_outputs(path, REFERENCE)
    return path


def write_difficulties(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (f"{number},{number % 5 - 2}.5\n" for number in range(count))
    path.write_text("index,instruction_difficulty\n" + "".join(rows), encoding="utf-8")
    return path


def config(tmp_path: Path, reference: object, server: FaultyServer, **others: object) -> AlpacaConfig:
    values = {"max_examples": len(REFERENCE), "retries": 0, "judge": SERVED, "offline": True} | others
    return AlpacaConfig.model_validate(
        {
            "model": SERVED,
            "base_url": server.url,
            "judge_base_url": server.url,
            "output": tmp_path / "out",
            "reference": str(reference),
            **values,
        }
    )


def both(judge: Reply, answer: Callable[[str], str] = lambda _: OUTPUT) -> Reply:
    """One server for the model and the judge."""
    return lambda question, before: judge(question, before) if "\nVERDICT " in question else answer(question)


def evaluated(config: AlpacaConfig) -> AlpacaResult:
    result = evaluate_alpaca(config)
    assert result is not None
    return result


@pytest.mark.parametrize("word", ["A", "B", "TIE"])
def test_a_judge_that_looks_at_the_place_alone_prefers_nobody(tmp_path: Path, reference: Path, word: str) -> None:
    with serve(both(says(word))) as server:
        result = evaluated(config(tmp_path, reference, server))
    assert result.win_rate is not None
    assert (result.win_rate.estimate.value, result.win_rate.estimate.n) == (0.5, 6)
    assert (result.win_rate.wins, result.win_rate.losses, result.win_rate.draws) == (0, 0, 6)
    assert result.agreement is not None
    assert result.agreement.value == (1.0 if word == "TIE" else 0.0)


def test_a_judge_that_likes_the_longer_prefers_it_in_both_orders(tmp_path: Path, reference: Path) -> None:
    with serve(both(longer)) as server:
        result = evaluated(config(tmp_path, reference, server))
        assert len(server.asked) == 6 + 2 * 6
    assert result.win_rate is not None
    assert (result.win_rate.wins, result.win_rate.losses) == (3, 3)
    assert result.agreement is not None
    assert result.agreement.value == 1.0
    annotations = read_annotations(tmp_path / "out" / "annotations.json")
    assert [annotation.preference for annotation in annotations] == [2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    assert {annotation.annotator for annotation in annotations} == {SERVED}
    assert [annotation.output_1 for annotation in annotations] == [output.output for output in REFERENCE]
    assert {annotation.output_2 for annotation in annotations} == {OUTPUT}
    outputs = read_model_outputs(tmp_path / "out" / "model_outputs.json")
    assert [(output.instruction, output.dataset) for output in outputs] == [(of.instruction, "d") for of in REFERENCE]
    metrics = read_json(tmp_path / "out" / "metrics.json")
    assert metrics["metrics"]["win_rate"]["wins"] == 3
    assert metrics["judge"] == SERVED


def test_the_reference_can_be_another_run_which_is_asked_nothing(tmp_path: Path, reference: Path) -> None:
    with serve(both(longer, lambda _: "Short.")) as server:
        folder = tmp_path / "it" / "evaluations" / "alpaca"
        assert evaluated(config(tmp_path, reference, server, output=folder, judge=None)).win_rate is None
        assert len(server.asked) == 6
    with serve(both(longer)) as server:
        result = evaluated(config(tmp_path, tmp_path / "it", server, model="openai-api/faulty/rt"))
        assert len(server.asked) == 6 + 12
    assert result.win_rate is not None
    assert result.win_rate.estimate.value == 1.0
    assert result.reference_characters.value == len("Short.")
    with pytest.raises(UserError, match=r"has no responses yet\. Run: rt eval alpaca"):
        evaluate_alpaca(config(tmp_path, tmp_path, server))


def test_responses_to_one_reference_are_not_taken_for_those_to_another(
    tmp_path: Path, reference: Path, model_folder: Path
) -> None:
    """A model in this process keeps its responses by their place."""
    turned = tmp_path / "turned.json"
    write_model_outputs(turned, REFERENCE[::-1])
    with serve(both(longer)) as server:
        local = {"model": str(model_folder), "device": "cpu", "max_new_tokens": 8, "judge": None, "dtype": "float32"}
        first = evaluated(config(tmp_path, reference, server, **local))
        second = evaluated(config(tmp_path, turned, server, **local))
        assert server.asked == []
    by_prompt = {row["prompt"]: row["response"] for row in second.rows}
    assert {row["prompt"]: row["response"] for row in first.rows} == by_prompt


def test_missing_verdicts_are_an_error_until_they_are_allowed_and_then_nothing_is_asked(
    tmp_path: Path, reference: Path
) -> None:
    def reply(question: str, before: int) -> str:
        is_third, reference_first = "river 3." in question, section(question, "answer A") != OUTPUT
        return "I like both." if is_third and reference_first else longer(question, before)

    with serve(both(reply)) as server:
        with pytest.raises(UserError, match="Only 5 of 6 instructions have a verdict"):
            evaluate_alpaca(config(tmp_path, reference, server))
        assert not (tmp_path / "out" / "metrics.json").exists()
        annotations = read_annotations(tmp_path / "out" / "annotations.json")
        assert [annotation.preference for annotation in annotations] == [2.0, 2.0, None, 1.0, 1.0, 1.0]
        before = len(server.asked)
        result = evaluated(config(tmp_path, reference, server, allow_unparsed=1))
        assert len(server.asked) == before
    assert result.win_rate is not None
    assert (result.win_rate.estimate.n, result.win_rate.estimate.value) == (5, 0.4)
    assert result.without_verdict == 1
    assert result.rows[2]["state"] == ["unparsed", "judged"]
    assert "win" not in result.rows[2]["values"]


def test_a_missing_response_is_an_error_that_says_how_to_go_on(tmp_path: Path, reference: Path) -> None:
    is_well = False

    def answer(question: str) -> str:
        return "status 400" if "river 2." in question and not is_well else OUTPUT

    with serve(both(longer, answer)) as server:
        with pytest.raises(UserError, match=r"1 of 6 instructions have no response.*--retry-errors"):
            evaluate_alpaca(config(tmp_path, reference, server))
        is_well = True
        assert evaluated(config(tmp_path, reference, server, retry_errors=True)).win_rate is not None
        assert len(server.asked) == 6 + 1 + 12


def test_rejected_prompts_count_as_empty_responses(tmp_path: Path, reference: Path) -> None:
    """A model whose server filters one instruction lost that one; the others are measured."""

    def answer(question: str) -> str:
        return "status 403" if "river 3" in question else OUTPUT

    with serve(both(longer, answer)) as server:
        with pytest.raises(UserError, match="--allow-unparsed 1 to count them as empty"):
            evaluate_alpaca(config(tmp_path, reference, server))
        result = evaluated(config(tmp_path, reference, server, allow_unparsed=1))
    outputs = read_model_outputs(tmp_path / "out" / "model_outputs.json")
    assert [output.output for output in outputs] == [OUTPUT, OUTPUT, "", OUTPUT, OUTPUT, OUTPUT]
    assert result.win_rate is not None
    assert result.win_rate.estimate.n == len(REFERENCE)


def test_overwriting_a_win_rate_by_none_is_impossible(tmp_path: Path, reference: Path) -> None:
    with serve(both(longer)) as server:
        judged = evaluated(config(tmp_path, reference, server))
        files = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.suffix != ".eval"}
        assert evaluated(config(tmp_path, reference, server, judge=None, max_examples=2)).win_rate is None
    assert judged.win_rate is not None
    assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == files
    assert read_json(tmp_path / "out" / "metrics.json")["metrics"]["win_rate"] is not None


def test_a_reference_with_too_few_answers_has_to_be_wanted(tmp_path: Path, reference: Path) -> None:
    with serve(both(longer)) as server:
        with pytest.raises(UserError, match="answers 6 of AlpacaEval's 805 instructions"):
            evaluate_alpaca(config(tmp_path, reference, server, max_examples=None))
        assert server.asked == []


def test_a_part_of_alpaca_eval_has_no_published_difficulties_and_a_win_rate_all_the_same(
    tmp_path: Path, reference: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_difficulties(mirror / ASSETS["alpaca-eval-difficulty"].path, 805)
    with serve(both(longer)) as server:
        result = evaluated(config(tmp_path, reference, server))
        assert result.win_rate is not None
        assert result.length_controlled is None
        assert "There are 805 difficulties for 6 instructions" in " ".join(capsys.readouterr().err.split())
        table = write_difficulties(tmp_path / "difficulty.csv", 6)
        assert evaluated(config(tmp_path, reference, server, difficulty=table)).length_controlled is not None
        wrong = write_difficulties(tmp_path / "wrong.csv", 7)
        with pytest.raises(UserError, match="There are 7 difficulties for 6 instructions"):
            evaluate_alpaca(config(tmp_path, reference, server, difficulty=wrong))


def write_anchors(path: Path, *, first: str = "False") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = (f"{n},{n / 10 - 3},{n % 3 - 1},v{n % 2},False,{n % 2}\n" for n in range(60))
    header = "index,std_delta_len,instruction_difficulty,model,not_gamed_baseline,preference\n"
    path.write_text(f"{header}0,0.5,0.1,v0,{first},1.0\n0,0.5,0.1,v0,False,\n" + "".join(rows), encoding="utf-8")
    return path


def test_a_file_of_annotations_is_read_without_a_model_or_a_judge(
    tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(both(longer)) as server:
        asked = evaluated(config(tmp_path, reference, server))
    file, difficulty = tmp_path / "out" / "annotations.json", write_difficulties(tmp_path / "difficulty.csv", 6)
    arguments = ["eval", "alpaca", "--annotations", str(file), "--difficulty", str(difficulty), "--offline"]
    assert main([*arguments, "--output", str(tmp_path / "again")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "against other, 6 instructions" in printed
    assert "win rate (no anchors)" in printed
    saved = read_json(tmp_path / "again" / "metrics.json")
    assert asked.win_rate is not None
    assert saved["metrics"]["win_rate"]["estimate"] == vars(asked.win_rate.estimate)
    assert saved["metrics"]["length_controlled_win_rate"]["method"] == METHOD_NO_ANCHORS
    assert saved["judge"] == SERVED
    assert main([*arguments, "--anchors", str(write_anchors(tmp_path / "anchors.csv"))]) == 0
    assert "no anchors" not in capsys.readouterr().out
    assert main([*arguments, "--anchors", str(write_anchors(tmp_path / "wrong.csv", first="True"))]) == 2
    assert "wrong.csv:2" in capsys.readouterr().err
    assert main([*arguments, "runs/rt"]) == 2
    assert "takes the place of a model" in capsys.readouterr().err
    assert main(["eval", "alpaca"]) == 2
    assert "rt eval alpaca --annotations FILE" in " ".join(capsys.readouterr().err.split())


def test_the_published_anchors_are_used_only_if_they_are_the_published_file(
    tmp_path: Path, reference: Path, mirror: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, anchors = write_difficulties(tmp_path / "difficulty.csv", 6), ASSETS["alpaca-eval-anchors"]
    content = write_anchors(mirror / anchors.path).read_bytes()
    with serve(both(longer)) as server:
        other = evaluated(config(tmp_path, reference, server, difficulty=table)).length_controlled
        assert "is not the file that" in " ".join(capsys.readouterr().err.split())
        digest = hashlib.sha256(content).hexdigest()
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(ASSETS, "alpaca-eval-anchors", replace(anchors, sha256=digest))
            published = evaluated(config(tmp_path, reference, server, difficulty=table)).length_controlled
    assert other is not None
    assert published is not None
    assert (other.method, published.method) == (METHOD_NO_ANCHORS, METHOD)


def test_one_instruction_has_a_win_rate(tmp_path: Path, reference: Path) -> None:
    with serve(both(longer)) as server:
        table = write_difficulties(tmp_path / "difficulty.csv", 6)
        result = evaluated(config(tmp_path, reference, server, max_examples=1, difficulty=table))
    assert result.win_rate is not None
    assert result.win_rate.estimate.n == 1
    assert result.length_controlled is None


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the real data are not beside the project")
def test_all_805_instructions_judged_by_length_alone_are_even_at_equal_lengths(tmp_path: Path) -> None:
    """The model answers as the reference does, four times of five at greater length; the judge leans to the longer."""
    data = SHARED_DATA / "alpaca_eval"
    published = data / "gpt4_1106_preview.model_outputs.jsonl.gz"
    numbered = {of.instruction: (number, of) for number, of in enumerate(read_model_outputs(published))}

    def answer(question: str) -> str:
        number, of = numbered[question]
        return of.output + " And more of it." * (number % 80 + 1) if number % 5 else of.output[: len(of.output) // 2]

    def lean(question: str, _: int) -> str:
        instruction = section(question, "instruction")
        draw = int(hashlib.sha256(instruction.encode()).hexdigest()[:8], 16) / 2**32
        surplus = len(answer(instruction)) - len(numbered[instruction][1].output)
        model_wins = draw < 1 / (1 + exp(-3 * tanh(surplus / 700)))
        is_model_first = section(question, "answer A") == answer(instruction)
        return verdict(question, "A" if model_wins == is_model_first else "B")

    with serve(both(lean, answer)) as server:
        whole = config(
            tmp_path,
            published,
            server,
            max_examples=None,
            difficulty=data / "instruction_difficulty_recovered.csv",
            concurrency=32,
        )
        result = evaluated(whole)
        assert len(server.asked) == 805 * 3
    assert result.win_rate is not None
    assert result.win_rate.estimate.n == 805
    assert result.win_rate.estimate.low > 0.6
    assert result.agreement is not None
    assert result.agreement.value == 1.0
    controlled = result.length_controlled
    assert controlled is not None
    assert controlled.estimate.low < 0.5 < controlled.estimate.high
    assert controlled.weights.length < 0
    annotations = read_annotations(tmp_path / "out" / "annotations.json")
    difficulties = read_difficulties(data / "instruction_difficulty_recovered.csv")
    assert length_controlled_win_rate(annotations, difficulties) == controlled
