"""ARC as one group, and the mean of six capabilities, as the paper prints them."""

from typing import Any

import pytest

from response_tuning.evaluation.capabilities.paper_means import add_paper_means

SINGLE = {"mmlu acc": 0.25, "openbookqa acc": 0.5, "hellaswag acc": 0.75, "piqa acc": 1.0}


def rows(arc: dict[str, list[float]], gsm8k: dict[str, list[float]]) -> list[dict[str, Any]]:
    many = {name: [1.0] * round(4 * mean) + [0.0] * round(4 - 4 * mean) for name, mean in SINGLE.items()}
    return [{"values": {name: value}} for name, values in {**many, **arc, **gsm8k}.items() for value in values]


ARC_ROWS = {"arc_easy acc": [1.0, 1.0, 1.0], "arc_challenge acc": [0.0]}
COT = "gsm8k_cot_llama exact_match,strict-match"


def test_arc_counts_questions_and_the_mean_counts_capabilities() -> None:
    made = rows(ARC_ROWS, {COT: [1.0, 0.0, 0.0, 0.0, 0.0], "gsm8k exact_match,strict-match": [1.0] * 9})
    found = add_paper_means(made)
    assert (found["arc"]["acc"].value, found["arc"]["acc"].n) == (0.75, 4)
    mean = found["mean of six"]["mean of six"].value
    assert mean == pytest.approx((0.25 + 0.5 + 0.75 + 1.0 + 0.75 + 0.2) / 6, abs=1e-4)
    parts = [row["values"]["mean of six"] for row in made if "mean of six" in row["values"]]
    assert sum(part for part, _ in parts) / sum(whole for _, whole in parts) == pytest.approx(3.45 / 6, abs=1e-4)


def test_the_usual_gsm8k_is_the_sixth_where_it_is_the_one_that_was_run() -> None:
    found = add_paper_means(rows(ARC_ROWS, {"gsm8k exact_match,strict-match": [1.0]}))
    mean = found["mean of six"]["mean of six"].value
    assert mean == pytest.approx((0.25 + 0.5 + 0.75 + 1.0 + 0.75 + 1.0) / 6, abs=1e-4)


def test_nothing_is_the_mean_of_fewer() -> None:
    assert list(add_paper_means(rows(ARC_ROWS, {}))) == ["arc"]
    assert add_paper_means(rows({"arc_easy acc": [1.0]}, {COT: [1.0]})) == {}
