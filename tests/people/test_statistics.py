"""Agreement, strengths, joins and raters, against published examples and other libraries."""

import os

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from response_tuning.people.judgements import Judgement
from response_tuning.people.statistics.agreement import alpha_bounds, krippendorff_alpha
from response_tuning.people.statistics.joining import dawid_skene, join_votes
from response_tuning.people.statistics.rater_quality import rater_quality
from response_tuning.people.statistics.rates import Joined, acceptance, joined_votes, preference_rates, win_rates
from response_tuning.people.statistics.strengths import bradley_terry
from tests.people.ratings import judgement

KRIPPENDORFF = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]
"""Four observers, twelve units and missing ratings: Krippendorff 2011, "Computing Krippendorff's alpha-reliability"."""
BINARY = ["0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"]
"""The same paper, section A: two observers, ten units."""
NOMINAL = ["a a b b d c c c e d d a", "b a b b b c c c e d d d"]
"""The same paper, section B."""


def units(rows: list[str]) -> dict[tuple[str, str], dict[str, float]]:
    ratings = [row.split() for row in rows]
    return {
        (str(unit), "x"): {str(observer): float(ord(value[0])) for observer, value in enumerate(column) if value != "."}
        for unit, column in enumerate(zip(*ratings, strict=True))
    }


def test_alpha_is_that_of_krippendorffs_examples() -> None:
    assert krippendorff_alpha(units(BINARY), "nominal") == pytest.approx(0.095, abs=0.0005)
    assert krippendorff_alpha(units(NOMINAL), "nominal") == pytest.approx(0.692, abs=0.0005)
    assert krippendorff_alpha(units(KRIPPENDORFF), "nominal") == pytest.approx(0.743, abs=0.0005)
    assert krippendorff_alpha(units(KRIPPENDORFF), "ordinal") == pytest.approx(0.815, abs=0.0005)


def test_alpha_of_samples_of_prompts_is_evalicas() -> None:
    """The interval is made of alphas computed from coincidences; on the sample itself they equal the point estimate."""
    from response_tuning.people.statistics.agreement import _alphas, _coincidences

    generator = np.random.default_rng(0)
    for rows in (KRIPPENDORFF, BINARY, NOMINAL):
        of = units(rows)
        for _ in range(5):
            drawn = generator.integers(0, len(of), len(of))
            sample = {(str(place), "x"): [*of.values()][unit] for place, unit in enumerate(drawn)}
            for distance in ("nominal", "ordinal"):
                expected = krippendorff_alpha(sample, distance)
                if expected is not None:
                    summed = _coincidences(sample).sum(axis=0)[None]
                    assert _alphas(summed, distance)[0] == pytest.approx(expected, abs=1e-9)


def test_the_interval_of_alpha_resamples_units_not_ratings() -> None:
    """evalica's own bootstrap gives 0.57 to 0.85 here, as if the twelve units were many more."""
    low, high = alpha_bounds(units(KRIPPENDORFF), "nominal")
    assert low < 0.45 and high == 1.0


def test_all_votes_of_a_prompt_are_resampled_together() -> None:
    """Ten prompts with one response each, and the same as ten responses to one prompt."""
    apart = units(NOMINAL)
    together = {("prompt", unit): said for (unit, _), said in apart.items()}
    low, high = alpha_bounds(apart, "nominal")
    assert high - low > 0.3
    assert alpha_bounds(together, "nominal") == pytest.approx([0.692, 0.692], abs=0.0005)


def test_alpha_is_not_defined_where_all_say_the_same() -> None:
    assert krippendorff_alpha(units(["1 1 1", "1 1 1"]), "nominal") is None


def random_judgements(runs: list[str], strengths: list[float], prompts: int, seed: int) -> list[Judgement]:
    """One vote for each prompt and pair of runs, with lengths that count as well."""
    generator = np.random.default_rng(seed)
    found = []
    for prompt in range(prompts):
        lengths = {run: int(length) for run, length in zip(runs, generator.integers(50, 800, len(runs)), strict=True)}
        for one in range(len(runs)):
            for other in range(one):
                odds = strengths[one] - strengths[other] + 0.4 * np.log2(lengths[runs[one]] / lengths[runs[other]])
                wins = float(generator.random() < 1 / (1 + np.exp(-odds)))
                each = judgement(prompt, "r", (runs[one], runs[other]), wins)
                found.append(Judgement(each.prompt, "r", each.runs, (), (), wins, 0, lengths))
    return found


@pytest.mark.parametrize("control_length", [False, True])
def test_bradley_terry_is_a_logistic_regression(control_length: bool) -> None:
    runs = ["a", "b", "c"]
    judgements = random_judgements(runs, [0.0, 0.6, -0.5], 150, seed=1)
    fitted = bradley_terry(joined_votes(judgements, runs), control_length=control_length)
    rows, wins = [], []
    for each in judgements:
        row = [float(run == each.runs[0]) - float(run == each.runs[1]) for run in runs[1:]]  # "a" is the baseline
        if control_length:
            row.append(np.log2(each.lengths[each.runs[0]] / each.lengths[each.runs[1]]))
        rows.append(row)
        wins.append(each.left_wins)
    regression = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12, solver="newton-cg", max_iter=1000)
    coefficients = regression.fit(rows, wins).coef_[0]
    expected = np.array([0.0, *coefficients[:2]])
    expected -= expected.mean()
    assert [fitted.of_runs[run][0] for run in runs] == pytest.approx(expected.tolist(), abs=1e-6)
    if control_length:
        assert fitted.length_effect is not None
        assert fitted.length_effect[0] == pytest.approx(coefficients[2], abs=1e-6)


def test_a_tie_is_half_a_win_for_each() -> None:
    ties = [judgement(prompt, "r", ("a", "b"), 0.5) for prompt in range(10)]
    assert bradley_terry(joined_votes(ties, ["a", "b"])).of_runs["a"][0] == pytest.approx(0, abs=1e-9)
    one_each = [judgement(prompt, "r", ("a", "b"), float(prompt % 2)) for prompt in range(10)]
    assert bradley_terry(joined_votes(one_each, ["a", "b"])).of_runs["a"][0] == pytest.approx(0, abs=1e-9)


def test_length_control_removes_what_length_explains() -> None:
    """Raters who only prefer the longer response: at equal length, no run is better."""
    generator = np.random.default_rng(0)
    judgements = []
    for prompt in range(600):
        lengths = {"long": int(generator.integers(100, 900)), "short": int(generator.integers(50, 450))}
        odds = 1.2 * np.log2(lengths["long"] / lengths["short"])
        wins = float(generator.random() < 1 / (1 + np.exp(-odds)))
        judgements.append(Judgement(str(prompt), "r", ("long", "short"), (), (), wins, 0, lengths))
    joined = joined_votes(judgements, ["long", "short"])
    assert bradley_terry(joined).of_runs["long"][1] > 0.3
    controlled = bradley_terry(joined, control_length=True)
    point, low, high = controlled.of_runs["long"]
    assert low < 0 < high and abs(point) < 0.2
    assert controlled.length_effect is not None and controlled.length_effect[1] < 1.2 < controlled.length_effect[2]


def test_a_run_that_won_everything_has_no_bound() -> None:
    from response_tuning.people.report.tables import shown_bounds

    won = [judgement(prompt, "r", ("a", "b"), 1) for prompt in range(10)]
    strengths = bradley_terry(joined_votes(won, ["a", "b"])).of_runs
    assert strengths["a"] == (np.inf, np.inf, np.inf)
    assert shown_bounds(strengths["b"]) == "no finite estimate"
    nearly = [*won, judgement(10, "r", ("a", "b"), 0)]  # a third of the samples lack the one prompt that b won
    point, low, high = bradley_terry(joined_votes(nearly, ["a", "b"])).of_runs["a"]
    assert 0 < low < point < 5 and high == np.inf


def votes_of(*values: int) -> dict[str, int]:
    return {f"r{number}": value for number, value in enumerate(values)}


def test_votes_are_joined_by_mean_and_by_majority() -> None:
    votes = {"one": votes_of(0, 0, 1), "two": votes_of(0, 1, 2)}
    mean, majority = join_votes(votes, 3, "mean"), join_votes(votes, 3, "majority")
    assert mean["one"].tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert majority["one"].tolist() == [1, 0, 0]
    assert majority["two"].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3])


def test_dawid_skene_finds_the_rater_who_is_always_wrong() -> None:
    """Two reliable raters and three who often guess: the majority is wrong more often than the model."""
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 400)
    accuracy = [0.95, 0.93, 0.55, 0.5, 0.45]
    votes = {
        str(item): votes_of(*(int(of if generator.random() < right else 1 - of) for right in accuracy))
        for item, of in enumerate(truth)
    }
    posterior = dawid_skene(votes, 2)
    modelled = np.array([of[1] > 0.5 for of in posterior.values()])
    majority = np.array([of[1] > 0.5 for of in join_votes(votes, 2, "majority").values()])
    assert (modelled == truth).mean() > 0.92 > (majority == truth).mean() + 0.05
    assert all(of.sum() == pytest.approx(1) for of in posterior.values())


def test_rates_are_means_over_prompts() -> None:
    judgements = [
        judgement(0, "r1", ("a", "b"), 1, acceptable="yn"),
        judgement(0, "r2", ("b", "a"), 0.5, acceptable="yy"),
        judgement(1, "r1", ("b", "a"), 1, acceptable="yn"),
    ]
    joined = joined_votes(judgements, ["a", "b"])
    rates = acceptance(joined)
    assert {run: (rate.value, rate.n) for run, rate in rates.items()} == {"a": (0.5, 2), "b": (0.75, 2)}
    ((pair, sides),) = preference_rates(joined).items()
    assert pair == ("a", "b")
    assert {side: rate.value for side, rate in sides.items()} == {"first": 0.25, "tie": 0.25, "second": 0.5}
    assert {run: rate.value for run, rate in win_rates(joined).items()} == {"a": 0.375, "b": 0.625}


def test_raters_are_told_by_side_speed_agreement_and_checks() -> None:
    judgements = [judgement(prompt, "steady", ("a", "b"), 1.0) for prompt in range(20)]
    judgements += [judgement(prompt, "other", ("b", "a"), float(prompt >= 15)) for prompt in range(20)]
    quality = rater_quality(judgements, {"steady": (3, 4)})
    steady = quality["steady"]
    assert steady.left is not None and steady.left.value == 1.0 and steady.left.low > 0.5
    assert steady.checks == (3, 4) and quality["other"].checks == (0, 0)
    # All acceptable, and 15 of 20 preferences the same: (2 + 0.75) / 3.
    assert steady.agreement is not None and steady.agreement.value == pytest.approx(0.9167, abs=0.0001)


def simulated(prompts: int, generator: np.random.Generator) -> Joined:
    """Three raters with known truth, joined by their mean: a prompt's difficulty moves all of them."""
    shift = generator.normal(0, 1, (prompts, 1, 1))
    accepted = (generator.random((prompts, 3, 2)) < 1 / (1 + np.exp(-np.array([1.0, 0.2]) - shift))).mean(axis=1)
    chances = np.where(shift[:, :, 0] < 0, [0.45, 0.2, 0.35], [0.25, 0.5, 0.25])
    preferred = np.array([generator.multinomial(3, of) / 3 for of in chances])
    return Joined(
        ["a", "b"],
        {(str(p), run): float(accepted[p, place]) for p in range(prompts) for place, run in enumerate("ab")},
        {},
        {(str(p), ("a", "b")): preferred[p] for p in range(prompts)},
        {},
    )


def simulated_units(prompts: int, generator: np.random.Generator) -> dict[tuple[str, str], dict[str, float]]:
    """Three raters who see the true one of three levels in four of five cases, and guess otherwise."""
    truth = generator.choice(3, size=prompts, p=(0.6, 0.3, 0.1))
    said = np.where(generator.random((3, prompts)) < 0.8, truth, generator.integers(0, 3, (3, prompts)))
    return {(str(p), "x"): {str(rater): float(value) for rater, value in enumerate(said[:, p])} for p in range(prompts)}


def test_intervals_cover_the_truth() -> None:
    """93% to 97% in the long run; over 120 samples the coverage itself has a standard error of two points.

    RESPONSE_TUNING_SIMULATIONS=5000 repeats it with a standard error of 0.3 points, in two minutes.
    """
    count = int(os.environ.get("RESPONSE_TUNING_SIMULATIONS", "120"))
    margin = 0.045 if count < 5_000 else 0.0
    generator = np.random.default_rng(0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    wins = (0.45 + 0.1 + 0.25 + 0.25) / 2
    truth = {
        "acceptance": float((weights / weights.sum() / (1 + np.exp(-1.0 - nodes))).sum()),
        "preference": (0.45 + 0.25) / 2,
        "wins": wins,
        "strength": float(np.log(wins / (1 - wins)) / 2),
        "alpha": krippendorff_alpha(simulated_units(30_000, generator), "nominal"),
    }
    covered = dict.fromkeys(truth, 0)
    for _ in range(count):
        joined = simulated(80, generator)
        strength = bradley_terry(joined).of_runs["a"]
        (sides,) = preference_rates(joined).values()
        bounds = {
            **{name: (each.low, each.high) for name, each in (("acceptance", acceptance(joined)["a"]),)},
            "preference": (sides["first"].low, sides["first"].high),
            "wins": (win_rates(joined)["a"].low, win_rates(joined)["a"].high),
            "strength": strength[1:],
            "alpha": alpha_bounds(simulated_units(80, generator), "nominal"),
        }
        for name, (low, high) in bounds.items():
            covered[name] += low <= (truth[name] or 0) <= high
    rates = {name: hits / count for name, hits in covered.items()}
    assert all(0.93 - margin <= rate <= 0.97 + margin for rate in rates.values()), rates
