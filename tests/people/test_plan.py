"""Plans: balanced over raters, pairs and sides, the same for the same seed, and fast."""

import time
from collections import Counter

import pytest

from response_tuning.people.plan import Assignment, plan_assignments


def texts(prompts: int, runs: int) -> list[list[str]]:
    return [[f"{prompt} {run}" for run in range(runs)] for prompt in range(prompts)]


def plan(prompts: int = 40, runs: int = 3, raters: int = 3, overlap: float = 1.0, seed: int = 0) -> list[Assignment]:
    return plan_assignments(texts(prompts, runs), raters=raters, overlap=overlap, pairs=True, seed=seed)


def pair(each: Assignment) -> tuple[int, int]:
    assert each.left is not None and each.right is not None
    return min(each.left, each.right), max(each.left, each.right)


@pytest.mark.parametrize(("runs", "raters", "overlap"), [(2, 3, 1.0), (3, 3, 0.2), (4, 2, 0.0), (3, 5, 0.37)])
def test_raters_pairs_and_sides_are_balanced(runs: int, raters: int, overlap: float) -> None:
    planned = plan(runs=runs, raters=raters, overlap=overlap)
    screens = 40 * runs * (runs - 1) // 2
    shared = round(overlap * screens)
    seen_by = Counter((each.prompt, pair(each)) for each in planned)
    assert Counter(seen_by.values()) == Counter({raters: shared, 1: screens - shared})
    of_raters = [[each for each in planned if each.rater == rater] for rater in range(raters)]
    assert max(map(len, of_raters)) - min(map(len, of_raters)) <= 1
    for own in of_raters:
        assert [each.position for each in own] == list(range(len(own)))
        counts = Counter(map(pair, own))
        assert max(counts.values()) - min(counts.values()) <= 2
        for each, count in counts.items():
            lefts = Counter(one.left for one in own if pair(one) == each)
            assert abs(lefts[each[0]] - lefts[each[1]]) == count % 2


def test_the_seed_decides_everything_and_raters_have_orders_of_their_own() -> None:
    assert plan() == plan()
    assert plan() != plan(seed=1)
    first, second = ([each.prompt for each in plan() if each.rater == rater] for rater in (0, 1))
    assert sorted(map(str, first)) == sorted(map(str, second))
    assert first != second


def test_no_side_or_place_tells_the_run() -> None:
    """Over many seeds, each run is on the left of a rater's first screen half of the time."""
    firsts = [plan(prompts=5, runs=2, raters=1, seed=seed)[0].left for seed in range(400)]
    assert 160 < firsts.count(0) < 240


def test_identical_responses_are_not_shown() -> None:
    same = [["one", "one "], ["one", "other"]]
    planned = plan_assignments(same, raters=2, overlap=1.0, pairs=True, seed=0)
    assert {each.prompt for each in planned} == {1}
    alone = plan_assignments(same, raters=1, overlap=1.0, pairs=False, seed=0)
    assert sorted((each.prompt, each.left, each.right) for each in alone) == [
        (0, 0, None),
        (0, 1, None),
        (1, 0, None),
        (1, 1, None),
    ]


def test_samples_begin_the_work_and_checks_are_hidden_among_it() -> None:
    planned = plan_assignments(texts(40, 2), raters=2, overlap=1.0, pairs=True, seed=0, training=3, checks=4)
    for rater in (0, 1):
        own = [each for each in planned if each.rater == rater]
        assert [each.sample for each in own[:3]] == [0, 1, 2]
        places = [each.position for each in own if each.sample is not None and each.sample >= 3]
        assert len(places) == 4
        # One in each quarter, none of them known in advance.
        assert [(place - 3 - number) // 10.001 for number, place in enumerate(places)] == [0, 1, 2, 3]
        assert sorted(each.sample for each in own if each.sample is not None) == list(range(7))
    orders = [[each.sample for each in planned if each.rater == rater and (each.sample or 0) > 2] for rater in (0, 1)]
    assert orders[0] != orders[1]


def test_fifty_thousand_assignments_are_planned_in_five_seconds() -> None:
    many = texts(5_000, 2)
    began = time.process_time()
    planned = plan_assignments(many, raters=10, overlap=1.0, pairs=True, seed=0)
    assert time.process_time() - began < 5
    assert len(planned) == 50_000
