"""A trained judge at work: best of n, and its confidence in ``rt eval selective``."""

import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import pearsonr

from response_tuning.evaluation.selective import confidences as confidences_module
from response_tuning.evaluation.selective.selective import evaluate_selective
from response_tuning.evaluation.selective.selective_config import SelectiveConfig
from response_tuning.evaluation.selective.selective_result import SelectiveResult
from response_tuning.evaluation.selective.selective_table import selective_table
from response_tuning.evaluation.shared import answering as answering_module
from response_tuning.evaluation.shared.answering import respond_here
from response_tuning.example import Example, write_examples
from response_tuning.inference.sample import sample_responses
from response_tuning.models.sentences import row_similarities
from response_tuning.runs.best_of import best_of, best_responses
from response_tuning.runs.judge import load_judge
from response_tuning.runs.load import load_responder
from response_tuning.support.errors import UserError
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig


@pytest.fixture(scope="module")
def judge_run(tmp_path_factory: pytest.TempPathFactory, model_folder: Path, examples: list[Example]) -> Path:
    """A judge that was trained for three steps: it grades, whatever its grades are worth."""
    folder = tmp_path_factory.mktemp("judges")
    rows = [
        {"prompt": each.prompt, "completion": each.completion[:40], "answer": each.completion[:number], "grade": number}
        for number, each in enumerate(examples[:6])
    ]
    write_examples(folder / "items.jsonl", [Example.model_validate(row) for row in rows])
    config = TrainingConfig(
        output=folder / "judge",
        model=str(model_folder),
        data=str(folder / "items.jsonl"),
        objective="self-judge",
        method="it",
        dtype="float32",
        device="cpu",
        epochs=1,
        batch_size=2,
        learning_rate=1e-2,
    )
    return train(config).path


@pytest.fixture
def config(tmp_path: Path, model_folder: Path, judge_run: Path) -> SelectiveConfig:
    return SelectiveConfig(
        model=str(model_folder),
        output=tmp_path / "selective",
        max_examples=8,
        max_new_tokens=6,
        samples=3,
        dtype="float32",
        device="cpu",
        judge_run=str(judge_run),
    )


def run(config: SelectiveConfig, **changes: Any) -> SelectiveResult:
    result = evaluate_selective(config.model_copy(update=changes))
    assert result is not None
    return result


def test_samples_follow_from_seed_and_instruction_alone(model_folder: Path) -> None:
    responder = load_responder(str(model_folder), "auto", dtype="float32", device="cpu")
    first = sample_responses(responder, "Name a river.", count=4, max_new_tokens=8)
    other = sample_responses(responder, "Name a city.", count=4, max_new_tokens=8)
    again = sample_responses(responder, "Name a river.", count=4, max_new_tokens=8)
    assert first == again
    assert sample_responses(responder, "Name a river.", count=2, max_new_tokens=8) == first[:2]
    assert len({each.text for each in [*first, *other]}) == 8
    assert sample_responses(responder, "Name a river.", count=4, max_new_tokens=8, seed=1) != first
    # At a temperature near 0 every sample is the greedy response.
    cold = sample_responses(responder, "Name a river.", count=3, max_new_tokens=8, temperature=1e-4)
    assert len({each.text for each in cold}) == 1


def test_the_best_of_n_is_what_the_judge_grades_highest(model_folder: Path, judge_run: Path) -> None:
    responder = load_responder(str(model_folder), "auto", dtype="float32", device="cpu")
    judge = load_judge(judge_run, dtype="float32", device="cpu")
    candidates = sample_responses(responder, "Name a river.", count=5, max_new_tokens=8)
    scores = judge.scores([("Name a river.", each.text) for each in candidates])
    best = best_of(judge, "Name a river.", candidates)
    assert best == candidates[scores.index(max(scores))]
    ((index, found),) = next(
        iter(best_responses(responder, judge, ["Name a river."], count=5, max_new_tokens=8))
    ).items()
    assert (index, found) == (0, best)


def test_evaluations_answer_with_the_best_of_n_and_keep_it(
    config: SelectiveConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prompts = ["Name a river.", "Name a city."]
    greedy, _ = respond_here(config, prompts, folder=tmp_path / "answers")
    three = config.model_copy(update={"best_of": 3})
    best, _ = respond_here(three, prompts, folder=tmp_path / "answers")
    assert best != greedy
    monkeypatch.setattr(answering_module, "best_responses", None)  # would fail if it were called
    monkeypatch.setattr(answering_module, "answer_in_batches", None)
    assert respond_here(three, prompts, folder=tmp_path / "answers")[0] == best
    assert respond_here(config, prompts, folder=tmp_path / "answers")[0] == greedy


def test_every_confidence_has_a_curve_and_a_correlation(
    config: SelectiveConfig, judge_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("likelihood", "self", "variation", "trained")
    scored = {f"{number}": float(number % 3) for number in range(8)}
    monkeypatch.setattr(
        "response_tuning.evaluation.selective.selective.read_scores", lambda *_: [scored[str(n)] for n in range(8)]
    )
    result = run(config, confidence=names, scores=Path("people.jsonl"))
    assert list(result.selections) == list(names)
    for name in names:
        values = [row["values"][name] for row in result.rows]
        assert len(set(values)) > 4
        both = result.selections[name].correlation
        assert both is not None
        assert both.pearson.value == pytest.approx(float(pearsonr(values, [*scored.values()]).statistic), abs=1e-4)
        assert -1 <= both.pearson.low <= both.pearson.value <= both.pearson.high <= 1
    judge = load_judge(judge_run, dtype="float32", device="cpu")
    expected = judge.scores([(row["prompt"], row["response"]) for row in result.rows])
    assert [row["values"]["trained"] for row in result.rows] == pytest.approx(expected, rel=1e-4)
    # Variation: the mean similarity of a response to its samples.
    assert config.output is not None
    kept = [json.loads(line) for line in (config.output / "samples.jsonl").read_text().splitlines()]
    texts = {row["instruction"]: row["texts"] for row in kept if "texts" in row}
    row = result.rows[0]
    similar = row_similarities([row["response"]] * 3, texts[row["prompt"]])
    assert row["values"]["variation"] == pytest.approx(sum(similar) / 3, rel=1e-5)
    assert "Pearson" in {str(cell) for cell in selective_table(config.model, result).columns[0].cells}
    saved = json.loads((config.output / "metrics.json").read_text())
    assert saved["metrics"]["selections"]["trained"]["correlation"]["spearman"]["n"] == 8
    assert saved["metrics"]["scored_by"] == "people.jsonl"

    monkeypatch.setattr(confidences_module, "sample_responses", None)  # samples are kept
    assert run(config, confidence=("variation",)).rows[0]["values"]["variation"] == row["values"]["variation"]


def test_scores_by_people_are_matched_by_prompt_and_response(config: SelectiveConfig, tmp_path: Path) -> None:
    rows = run(config, confidence=("likelihood",)).rows
    path = tmp_path / "people.jsonl"
    given = [{"prompt": row["prompt"], "response": row["response"], "score": n} for n, row in enumerate(rows[:6])]
    given += [{**given[0], "score": 2}]  # two people, averaged
    path.write_text("".join(json.dumps(row) + "\n" for row in given))
    result = run(config, confidence=("likelihood",), scores=path)
    values = [row["values"]["likelihood"] for row in rows[:6]]
    both = result.selections["likelihood"].correlation
    assert both is not None
    assert both.pearson.n == 6
    assert both.pearson.value == pytest.approx(float(pearsonr(values, [1, 1, 2, 3, 4, 5]).statistic), abs=1e-4)
    for line, message in (
        ('{"prompt": "x", "response": "y", "score": 1}', "scores none of these responses"),
        ('{"prompt": "x", "response": "y"}', "people.jsonl:1: field 'score' is no number"),
        ('{"prompt": "x", "score": 1}', "people.jsonl:1: a row of --scores needs"),
        ("{", "people.jsonl:1"),
    ):
        path.write_text(line)
        with pytest.raises(UserError, match=message):
            run(config, confidence=("likelihood",), scores=path)


def test_a_judge_that_knows_the_instructions_is_reported(
    config: SelectiveConfig, judge_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(config, confidence=("trained",), data=str(judge_run.with_name("items.jsonl")))
    assert "was trained on answers to 6 of these 6 instructions" in capsys.readouterr().err


def test_what_cannot_be_judged_is_refused_before_anything_is_loaded(config: SelectiveConfig, tmp_path: Path) -> None:
    for changes, message in (
        ({"confidence": ("trained",), "judge_run": None}, "--confidence trained needs a --judge-run"),
        ({"confidence": ("trained",), "judge_run": str(tmp_path)}, "no finished run"),
        ({"best_of": 2, "judge_run": None}, "--best-of needs a --judge-run"),
        ({"best_of": 2, "model": "openai-api/x/y", "confidence": ("trained",)}, "--best-of samples a model in this"),
    ):
        with pytest.raises(UserError, match=message):
            run(config, **changes)
