"""Self-J's training set: answers, their two scores, and grades in ten classes."""

import json
from pathlib import Path

import numpy as np
import pytest

from response_tuning.asking.ask_once import ledger_path
from response_tuning.data.recipes.recipe import run_recipe
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example, write_examples
from response_tuning.inference import generate
from response_tuning.models.sentences import row_similarities
from response_tuning.runs.load import load_run
from response_tuning.support.errors import UserError
from response_tuning.synthesis.judge_set import JudgeSet, JudgeSetConfig, grades
from response_tuning.training.objectives.self_judge import judge_forms


def test_grades_are_ten_classes_of_equal_size_of_both_scores_standardised() -> None:
    generator = np.random.default_rng(0)
    ratings, similarities = generator.normal(5, 2, 200), generator.normal(0.4, 0.1, 200)
    made = grades(ratings.tolist(), similarities.tolist())
    assert [made.count(grade) for grade in range(10)] == [20] * 10
    joined = (ratings - ratings.mean()) / ratings.std() + (similarities - similarities.mean()) / similarities.std()
    assert made == (np.argsort(np.argsort(joined)) // 20).tolist()
    # Neither the scale nor the origin of a score counts.
    assert grades((100 * ratings - 7).tolist(), similarities.tolist()) == made


def test_equal_answers_have_equal_grades_and_a_constant_score_counts_nothing() -> None:
    assert grades([1.0] * 10, [0.5] * 10) == [5] * 10
    tied = grades([float(each // 5) for each in range(20)], [0.3] * 20)
    assert tied == [1] * 5 + [3] * 5 + [6] * 5 + [8] * 5


def test_a_set_is_made_resumed_and_can_train_a_judge(
    tmp_path: Path, model_folder: Path, examples: list[Example], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "pairs.jsonl"
    rows = [example.model_copy(update={"completion": example.completion[:60]}) for example in examples[:6]]
    write_examples(source, rows)
    config = JudgeSetConfig(
        source=str(source),
        output=tmp_path / "items.jsonl",
        model=str(model_folder),
        answers=3,
        max_new_tokens=8,
        dtype="float32",
        device="cpu",
    )
    run_recipe(JudgeSet(), config)
    items = load_examples(str(config.output))
    assert len(items) == 18
    made = [item.model_extra or {} for item in items]
    assert sorted(each["grade"] for each in made)[0] == 0
    assert sorted(each["grade"] for each in made)[-1] == 9
    # The first answer of each instruction is the greedy one.
    run = load_run(model_folder, dtype="float32", device="cpu")
    assert [each["answer"] for each in made[::3]] == [
        response.text for response in run.generate([row.prompt or "" for row in rows], max_new_tokens=8)
    ]
    assert len({each["answer"] for each in made[:3]}) == 3
    similarities = row_similarities([each["answer"] for each in made], [item.completion for item in items])
    assert [each["similarity"] for each in made] == pytest.approx(similarities, abs=1e-4)
    assert all(0 <= each["self_rating"] <= 9 for each in made)
    assert len(judge_forms(items, source="items")) == 36

    # Nothing is answered twice, and the same file is made again.
    content = config.output.read_bytes()
    config.output.unlink()
    monkeypatch.setattr(generate, "generate_batch", None)
    run_recipe(JudgeSet(), config)
    assert config.output.read_bytes() == content
    audit = ledger_path(config.output).read_text().splitlines()
    assert len([line for line in audit if "token_count" in json.loads(line)]) == 18


def test_too_few_answers_for_ten_grades_are_refused(tmp_path: Path, examples: list[Example]) -> None:
    write_examples(tmp_path / "pairs.jsonl", examples[:4])
    config = JudgeSetConfig(source=str(tmp_path / "pairs.jsonl"), output=tmp_path / "items.jsonl", answers=2)
    with pytest.raises(UserError, match="gives 8 answers, fewer than the 10 grades"):
        run_recipe(JudgeSet(), config)
