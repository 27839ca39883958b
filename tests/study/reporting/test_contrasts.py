"""Simulated studies with a known truth, and comparisons worked out by hand.

RT_COVERAGE_SCALE multiplies the simulated studies (default 1).
"""

import os

import numpy as np
import pytest

from response_tuning.evaluation.shared.prompt_values import PromptValues
from response_tuning.evaluation.shared.statistics import crossed_mean, estimate_over_seeds
from response_tuning.study.reporting.contrasts import baseline_pairs, compare_arms, values_of
from response_tuning.study.reporting.findings import findings
from response_tuning.study.reporting.results import Arm, Measured, Results

SCALE = int(os.environ.get("RT_COVERAGE_SCALE", "1"))
Answers = np.ndarray


def arm(name: str, tables: dict[str, Answers], **axes: object) -> Arm:
    """An arm whose metrics have values [seeds, prompts]."""
    seeds = len(next(iter(tables.values())))
    cells = []
    for seed in range(seeds):
        values: PromptValues = {}
        for metric, table in tables.items():
            for number, value in enumerate(table[seed]):
                values.setdefault(("", f"prompt {number}", "", 0), {})[metric] = (float(value), 1.0)
        cells.append(Measured(seed if name != "base" else None, values, {}, []))
    return Arm(name, {"method": name, **axes}, cells)


def results(*arms: Arm) -> list[Results]:
    metrics = dict.fromkeys(metric for one in arms for values in one.cells[0].values.values() for metric in values)
    return [Results("probe", "probe", [*arms], [*metrics], {})]


def simulated(
    generator: np.random.Generator, seeds: int, prompts: int, of_seeds: float, effect: float = 0.0
) -> Answers:
    """Yes or no for each seed and prompt: prompts differ in difficulty, seeds in skill."""
    difficulty = 2 * np.random.default_rng(prompts).normal(size=(1, prompts))
    skill = of_seeds * generator.normal(size=(seeds, 1))
    return (generator.random((seeds, prompts)) < 1 / (1 + np.exp(-(difficulty + skill + effect)))).astype(float)


@pytest.mark.parametrize(("seeds", "prompts", "studies"), [(3, 80, 150), (5, 805, 60)])
def test_a_study_without_a_real_difference_says_that_it_differs_in_at_most_five_percent(
    seeds: int, prompts: int, studies: int
) -> None:
    generator = np.random.default_rng(1)
    wrong = 0
    for number in range(studies * SCALE):
        rt, it = (
            {f"metric {n}": simulated(generator, seeds, prompts, (0.0, 0.2, 0.5)[number % 3]) for n in range(4)}
            for _ in range(2)
        )
        tables = [(rt[name] - it[name]) for name in rt]
        smallest = min(crossed_mean(table).p for table in tables)
        wrong += 4 * smallest < 0.05  # Holm's first step
    # The upper end of a 99% interval of a rate of 5% in this number of studies.
    assert wrong <= 0.05 * studies * SCALE + 2.6 * np.sqrt(0.05 * 0.95 * studies * SCALE)


@pytest.mark.parametrize(("seeds", "prompts", "studies"), [(3, 80, 300), (5, 805, 40)])
def test_the_intervals_of_differences_cover_the_truth(seeds: int, prompts: int, studies: int) -> None:
    generator = np.random.default_rng(2)
    effects = np.random.default_rng(3)
    hits = 0
    for number in range(studies * SCALE):
        prompt = 0.3 * effects.normal(size=(1, prompts))
        noise = 0.4 * generator.normal(size=(2, seeds, prompts))
        sides = prompt + (0.0, 0.05, 0.1)[number % 3] * generator.normal(size=(2, seeds, 1)) + noise
        found = estimate_over_seeds(sides[0].tolist(), sides[1].tolist(), resamples=500)
        hits += found.low <= 0 <= found.high
    coverage, spread = hits / (studies * SCALE), 2.6 * np.sqrt(0.95 * 0.05 / (studies * SCALE))
    assert 0.93 - spread <= coverage <= 0.97 + spread


def test_a_real_difference_is_found_and_said() -> None:
    generator = np.random.default_rng(0)
    rt = arm("rt", {"responds": simulated(generator, 3, 80, 0.1, effect=1.5)})
    it = arm("it", {"responds": simulated(generator, 3, 80, 0.1)})
    (one,) = compare_arms(results(rt, it), {"method": "it"}, {})
    assert one.differs and one.seeds == 3 and one.estimate.low > 0 and one.estimate.n == 80
    sentences = findings([one])
    assert sentences[0] == "Of 1 difference tested, 1 differs from zero at the 5% level after Holm's correction."
    assert "rt minus it is +0." in sentences[1] and "no difference is shown" not in sentences[1]


def test_equal_answers_have_an_interval_with_a_width_and_say_what_could_be_shown() -> None:
    zeros = {"responds": np.zeros((3, 20))}
    (one,) = compare_arms(results(arm("rt", zeros), arm("it", zeros)), {"method": "it"}, {})
    assert one.estimate.low < -0.1 and one.estimate.high > 0.1
    assert one.detectable >= 6 / 20  # an exact test needs six pairs that differ one way
    assert "no difference is shown. This study shows one of 0.300 or more" in findings([one])[1]
    mean = values_of(results(arm("rt", zeros)))[0].estimate
    assert (mean.value, mean.low) == (0.0, 0.0) and mean.high > 0.1


def test_no_interval_leaves_the_scale_and_too_few_prompts_and_seeds_say_so() -> None:
    generator = np.random.default_rng(0)
    rt = arm("rt", {"responds": np.vstack([np.ones(6), np.zeros(6)])})
    it = arm("it", {"responds": simulated(generator, 2, 6, 0.0)})
    (one,) = compare_arms(results(rt, it), {"method": "it"}, {})
    assert -1 <= one.estimate.low <= one.estimate.high <= 1 and one.detectable == one.largest == 1.0
    assert findings([one])[1].endswith("no difference is shown, and this number of prompts and seeds could show none.")
    assert all(0 <= value.estimate.low <= value.estimate.high <= 1 for value in values_of(results(rt, it)))


def test_the_base_model_is_paired_with_every_seed_and_prompts_that_one_lacks_are_left_out() -> None:
    ones, zeros = np.ones((1, 12)), np.zeros((2, 10))
    base, rt = arm("base", {"stops": ones}), arm("rt", {"stops": zeros})
    (one,) = compare_arms(results(base, rt), {"method": "rt"}, {})
    assert (one.arm.name, one.baseline.name, one.seeds, one.estimate.n) == ("base", "rt", 2, 10)
    assert one.estimate.value == 1.0


def test_a_baseline_is_equal_in_all_axes_but_its_own() -> None:
    table = {"stops": np.zeros((1, 4))}
    arms = [
        Arm(f"{method} {data}", {"method": method, "data": data}, arm("x", table).cells)
        for method in ("rt", "it")
        for data in ("alpaca", "lima")
    ]
    arms.append(Arm("base", {"method": "base"}, arm("base", table).cells))
    pairs = [(one.name, other.name) for one, other in baseline_pairs(arms, {"method": "it"})]
    assert pairs == [
        ("rt alpaca", "it alpaca"),
        ("rt lima", "it lima"),
        ("base", "it alpaca"),
        ("base", "it lima"),
    ]


def test_only_the_named_metrics_are_tested_and_the_correction_counts_those_alone() -> None:
    generator = np.random.default_rng(4)
    sides = [
        {name: simulated(generator, 1, 60, 0.0, effect) for name in ("responds", "stops", "loops")}
        for effect in (0.9, 0.0)
    ]
    of = results(arm("rt", sides[0]), arm("it", sides[1]))
    few = compare_arms(of, {"method": "it"}, {"probe": ["responds"]})
    assert [one.adjusted_p is None for one in few] == [False, True, True]
    assert few[0].adjusted_p == few[0].p
    every = compare_arms(of, {"method": "it"}, {})
    assert all(one.adjusted_p is not None and one.adjusted_p >= one.p for one in every)


def test_a_ratio_over_seeds_is_the_mean_of_the_ratios_of_sums() -> None:
    cells = [
        Measured(
            seed, {("", "a", "", 0): {"checks": (1.0 + seed, 3.0)}, ("", "b", "", 0): {"checks": (0.0, 1.0)}}, {}, []
        )
        for seed in range(2)
    ]
    (value,) = values_of([Results("ifeval", "ifeval", [Arm("rt", {"method": "rt"}, cells)], ["checks"], {})])
    assert value.estimate.value == pytest.approx((1 / 4 + 2 / 4) / 2)
