"""The mean of several sets' means: every set counts as much as its weight says, whatever its size."""

from typing import Any

import pytest

from response_tuning.evaluation.shared.mean_of_means import add_mean_of_means
from response_tuning.evaluation.shared.statistics import estimate_difference

WEIGHTS = {"a": 0.5, "b": 0.25, "c": 0.25}


def rows(**values: list[float]) -> list[dict[str, Any]]:
    return [{"values": {name: value}} for name, all_of in values.items() for value in all_of]


def test_the_sizes_of_the_sets_do_not_matter() -> None:
    made = rows(a=[1, 0], b=[1] * 30, c=[0] * 5, other=[1])
    estimate = add_mean_of_means(made, "mean", WEIGHTS)
    assert estimate is not None
    assert estimate.value == pytest.approx(0.5 * 0.5 + 0.25, abs=1e-4)
    assert estimate.n == 37
    assert 0 <= estimate.low < 0.5 < estimate.high <= 1
    assert "mean" not in made[-1]["values"]


def test_two_runs_are_compared_on_it_by_row() -> None:
    one, two = rows(a=[1, 0], b=[1] * 8, c=[0] * 4), rows(a=[1, 1], b=[1] * 8, c=[0] * 4)
    for made in (one, two):
        add_mean_of_means(made, "mean", WEIGHTS)
    difference = estimate_difference(*([row["values"]["mean"] for row in made] for made in (two, one)))
    assert difference.value == pytest.approx(0.25, abs=1e-4)


def test_without_one_of_the_sets_there_is_no_mean() -> None:
    made = rows(a=[1.0], b=[0.0])
    assert add_mean_of_means(made, "mean", WEIGHTS) is None
    assert all("mean" not in row["values"] for row in made)
