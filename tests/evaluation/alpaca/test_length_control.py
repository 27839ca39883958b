"""Length-controlled win rates, against AlpacaEval's published figures where the real data are there."""

import csv
import gzip
import json
import warnings
from collections.abc import Sequence

import numpy as np
import pytest

from response_tuning.evaluation.alpaca import length_control
from response_tuning.evaluation.alpaca.alpaca_format import Anchor, Annotation, read_difficulties
from response_tuning.evaluation.alpaca.length_control import (
    METHOD,
    METHOD_NO_ANCHORS,
    LengthControlledWeights,
    length_controlled_win_rate,
    predicted_preferences,
)
from response_tuning.evaluation.alpaca.logistic_fit import fit_path
from response_tuning.evaluation.alpaca.win_rate import standard_error, win_rate
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA
from tests.evaluation.alpaca.verdicts import annotation

FOLDER = SHARED_DATA / "alpaca_eval"
needs_alpaca_eval = pytest.mark.skipif(not FOLDER.is_dir(), reason="AlpacaEval's data are not beside the project")

# length_controlled_winrate and lc_standard_error, in per cent, of weighted_alpaca_eval_gpt4_turbo_leaderboard.csv in
# github.com/tatsu-lab/alpaca_eval (src/alpaca_eval/leaderboards/data_AlpacaEval_2, commit 01f3cb2). Of the earlier
# models it has no standard error. The recovered difficulties come from vicuna-7b-v1.5 and -13b-v1.5: not among these.
PUBLISHED = {
    "gemma-2-9b-it-SimPO": (72.3508446939842, 0.5167873784867067),
    "openpipe-moa-gpt-4-turbo-v1": (68.37866250336802, 0.7309418614587613),
    "gpt-4o-2024-05-13": (57.45682883335095, None),
    "gpt4_1106_preview_verbose": (51.57500797967598, None),
    "gpt4_1106_preview": (50.0, None),
    "gpt4_1106_preview_concise": (41.896601591245386, None),
    "Meta-Llama-3.1-405B-Instruct-Turbo": (39.25732749961743, 0.9064666759144326),
    "gpt4": (38.12808974440021, None),
    "internlm2-chat-20b-ExPO": (27.225759480731792, None),
    "Yi-34B-Chat": (27.19054787762733, None),
    "Meta-Llama-3-8B-Instruct": (22.91878467313347, 0.849800881963191),
    "Meta-Llama-3.1-8B-Instruct-Turbo": (20.85398744758185, 0.7027366237502348),
    "claude-2.1_concise": (18.2084579084493, None),
    "jina-chat": (15.866004049505932, None),
}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the work; the bounds that are tested here have room for it."""
    monkeypatch.setattr(length_control, "_RESAMPLES", 40)


def simulated(
    weights: LengthControlledWeights,
    difficulties: Sequence[float],
    lengths: Sequence[tuple[int, int]],
    *,
    seed: int = 0,
) -> list[Annotation]:
    """Verdicts of a judge that follows the logistic model; lengths are (reference, model)."""
    differences = np.array([reference - model for reference, model in lengths], dtype=float)
    terms = np.tanh(differences / differences.std(ddof=1))
    logits = weights.length * terms + weights.difficulty * np.asarray(difficulties) + weights.model
    wins = np.random.default_rng(seed).random(len(logits)) < 1 / (1 + np.exp(-logits))
    return [
        annotation(2.0 if win else 1.0, number=number, model_length=model, length=reference)
        for number, (win, (reference, model)) in enumerate(zip(wins, lengths, strict=True))
    ]


def made_up(count: int, *, longer: int = 0) -> tuple[list[float], list[tuple[int, int]]]:
    """Difficulties and (reference, model) lengths; the model's are longer by ``longer`` characters on average."""
    generator = np.random.default_rng(7)
    reference = generator.integers(500, 3000, size=count)
    model = np.maximum(1, reference + longer + generator.normal(0, 600, size=count).astype(int))
    return generator.normal(0, 1, size=count).tolist(), list(zip(reference.tolist(), model.tolist(), strict=True))


def published_weights() -> dict[str, LengthControlledWeights]:
    path = FOLDER / "length_controlled_v1_baseline_gpt4_1106_preview.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))[1:]
    return {
        name: LengthControlledWeights(float(length), float(difficulty), float(model))
        for name, length, difficulty, model in rows
    }


def published_difficulties() -> list[float]:
    return read_difficulties(FOLDER / "instruction_difficulty_recovered.csv")


def output_lengths(name: str) -> list[int]:
    with gzip.open(FOLDER / f"{name}.model_outputs.jsonl.gz", "rt", encoding="utf-8") as file:
        return [len(json.loads(line)["output"]) for line in file]


@needs_alpaca_eval
@pytest.mark.parametrize("model", PUBLISHED)
def test_published_weights_give_the_published_length_controlled_win_rate(model: str) -> None:
    predictions = predicted_preferences(published_weights()[model], published_difficulties())
    rate, error = PUBLISHED[model]
    assert len(predictions) == 805
    assert 100 * predictions.mean() == pytest.approx(rate, abs=1e-7)
    if error is not None:
        assert 100 * standard_error(predictions) == pytest.approx(error, abs=1e-7)


@needs_alpaca_eval
@pytest.mark.parametrize("model", ["gpt4", "gpt4_1106_preview_verbose"])
def test_the_fit_recovers_published_weights_from_verdicts_drawn_with_them(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(length_control, "_RESAMPLES", 2)  # the interval is not looked at here
    # Real difficulties and real lengths of AlpacaEval's outputs; eight verdicts on each keep chance small.
    weights, difficulties = published_weights()[model], published_difficulties() * 8
    lengths = list(zip(output_lengths("gpt4_1106_preview"), output_lengths("text_davinci_003"), strict=True)) * 8
    fitted = length_controlled_win_rate(simulated(weights, difficulties, lengths), difficulties)
    assert fitted.weights.length == pytest.approx(weights.length, abs=0.25)
    assert fitted.weights.difficulty == pytest.approx(weights.difficulty, abs=0.15)
    assert fitted.weights.model == pytest.approx(weights.model, abs=0.2)
    assert 100 * fitted.estimate.value == pytest.approx(PUBLISHED[model][0], abs=2.5)


def test_the_fit_minimises_the_penalised_log_loss() -> None:
    weights = LengthControlledWeights(length=-1.5, difficulty=0.8, model=-0.4)
    difficulties, lengths = made_up(300)
    annotations = simulated(weights, difficulties, lengths)
    fitted = length_controlled_win_rate(annotations, difficulties, expected=300)
    differences = np.array([reference - model for reference, model in lengths], dtype=float)
    features = np.column_stack(
        [np.tanh(differences / differences.std(ddof=1)), difficulties, np.ones_like(differences)]
    )
    solution = np.array([fitted.weights.length, fitted.weights.difficulty, fitted.weights.model])
    won = np.array([row.model_preference for row in annotations], dtype=float)
    gradient = features.T @ (1 / (1 + np.exp(-features @ solution)) - won)
    # At the minimum the loss pulls on each weight as hard as the L1 penalty holds it.
    assert gradient == pytest.approx(-np.sign(solution) / fitted.inverse_penalty, abs=0.05)


def test_length_that_alone_wins_is_taken_out_of_the_rate() -> None:
    difficulties, lengths = made_up(805, longer=900)
    even = LengthControlledWeights(length=-2.5, difficulty=0.5, model=0.0)
    annotations = simulated(even, difficulties, lengths)
    raw = win_rate(annotations).estimate.value
    controlled = length_controlled_win_rate(annotations, difficulties).estimate
    assert raw > 0.75
    assert controlled.low < 0.5 < controlled.high
    assert controlled.n == 805


def test_where_length_says_nothing_both_rates_agree() -> None:
    difficulties, lengths = made_up(805)
    annotations = simulated(LengthControlledWeights(0.0, 0.6, 0.8), difficulties, lengths)
    assert length_controlled_win_rate(annotations, difficulties).estimate.value == pytest.approx(
        win_rate(annotations).estimate.value, abs=0.02
    )


def test_the_interval_is_wider_than_the_published_kind_of_standard_error() -> None:
    difficulties, lengths = made_up(805)
    annotations = simulated(LengthControlledWeights(-1.0, 0.3, 0.0), difficulties, lengths)
    result = length_controlled_win_rate(annotations, difficulties)
    assert result.estimate.low < result.estimate.value < result.estimate.high
    assert result.estimate.high - result.estimate.low > 2 * 1.96 * result.standard_error


def anchored_by(weights: LengthControlledWeights, count: int) -> list[Anchor]:
    """Verdicts of a judge on variants of the reference itself."""
    difficulties, lengths = made_up(count)
    spread = float(np.std([reference - model for reference, model in lengths], ddof=1))
    rows = simulated(weights, difficulties, lengths, seed=1)
    return [
        Anchor(f"variant {number % 2}", (reference - model) / spread, difficulty, (row.preference or 0) - 1)
        for number, (row, difficulty, (reference, model)) in enumerate(zip(rows, difficulties, lengths, strict=True))
    ]


def test_anchors_keep_length_from_being_taken_for_strength_and_give_the_rate_its_published_name() -> None:
    # All responses are longer by about the same factor: tanh hardly varies, so the fit cannot tell the two.
    generator = np.random.default_rng(3)
    lengths = [(int(length), int(3 * length)) for length in generator.integers(950, 1050, size=200)]
    difficulties = [0.0] * 200
    preferences = np.where(generator.random(200) < 0.8, 2.0, 1.0).tolist()
    annotations = [
        annotation(preference, number=number, length=reference, model_length=model)
        for number, (preference, (reference, model)) in enumerate(zip(preferences, lengths, strict=True))
    ]
    anchors = anchored_by(LengthControlledWeights(-3.0, 0.0, 0.0), 2000)
    alone = length_controlled_win_rate(annotations, difficulties, expected=200)
    anchored = length_controlled_win_rate(annotations, difficulties, anchors=anchors, expected=200)
    assert (alone.method, anchored.method) == (METHOD_NO_ANCHORS, METHOD)
    assert alone.weights.length > -2 > anchored.weights.length
    assert anchored.estimate.value < alone.estimate.value - 0.2


def test_the_fit_is_that_of_scikit_learn_for_every_penalty_and_weighting() -> None:
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    features = np.column_stack([np.tanh(generator.normal(size=120)), generator.normal(size=120), np.ones(120)])
    targets = generator.random(120).clip(1e-6, 1 - 1e-6)
    weights = np.stack([np.ones(120), generator.integers(0, 4, size=120).astype(float)])
    penalties = (1e-2, 0.3, 1e4)
    path = fit_path(features, targets, weights, penalties)
    for place, penalty in enumerate(penalties):
        for of_problem, coefficients in zip(weights, path[place], strict=True):
            model = LogisticRegression(
                C=penalty, l1_ratio=1.0, solver="liblinear", fit_intercept=False, max_iter=5000, tol=1e-9
            )
            # scikit-learn takes only class labels: a preference of 0.7 is a win of weight 0.7 and a loss of 0.3.
            model.fit(
                np.concatenate([features, features]),
                np.repeat([1, 0], 120),
                sample_weight=np.concatenate([targets * of_problem, (1 - targets) * of_problem]),
            )
            assert coefficients == pytest.approx(model.coef_[0], abs=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_judge_who_tosses_coins_gets_an_interval_that_contains_the_raw_rate_and_a_half(seed: int) -> None:
    """384 of 805: the penalty removes every term, and the rate is 0.5, as alpaca_eval has it."""
    difficulties, lengths = made_up(805)
    wins = np.zeros(805)
    wins[np.random.default_rng(seed).permutation(805)[:384]] = 1
    annotations = [
        annotation(1.0 + win, number=number, length=reference, model_length=model)
        for number, (win, (reference, model)) in enumerate(zip(wins.tolist(), lengths, strict=True))
    ]
    estimate = length_controlled_win_rate(annotations, difficulties).estimate
    assert estimate.high - estimate.low > 0.04
    assert estimate.low < 0.477 < estimate.high
    assert estimate.low < 0.5 <= estimate.high


def test_two_models_of_one_name_are_compared_and_equal_responses_are_even_by_construction() -> None:
    difficulties, lengths = made_up(24)
    always = [
        annotation(2.0, number=number, length=reference, model_length=model).model_copy(
            update={"generator_1": "same", "generator_2": "same"}
        )
        for number, (reference, model) in enumerate(lengths)
    ]
    assert length_controlled_win_rate(always, difficulties, expected=24).estimate.value > 0.9
    own = [row.model_copy(update={"output_2": row.output_1, "generator_2": "another"}) for row in always]
    estimate = length_controlled_win_rate(own, difficulties, expected=24).estimate
    assert (estimate.value, estimate.low, estimate.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("preference", [1.0, 2.0])
def test_a_model_that_always_loses_or_wins_can_be_fitted(preference: float) -> None:
    difficulties, lengths = made_up(100)
    annotations = [
        annotation(preference, number=number, length=reference, model_length=model)
        for number, (reference, model) in enumerate(lengths)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = length_controlled_win_rate(annotations, difficulties, expected=100)
    assert result.estimate.value == pytest.approx(preference - 1, abs=0.02)


def test_the_same_verdicts_give_the_same_result() -> None:
    difficulties, lengths = made_up(100)
    annotations = simulated(LengthControlledWeights(-1.0, 0.3, 0.2), difficulties, lengths)
    first = length_controlled_win_rate(annotations, difficulties, expected=100)
    assert length_controlled_win_rate(annotations, difficulties, expected=100) == first


def test_difficulties_of_other_instructions_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        length_controlled_win_rate([annotation(2.0)] * 3, [0.0] * 2, expected=3)


def test_fewer_verdicts_than_expected_are_refused() -> None:
    with pytest.raises(UserError, match="Only 804 of 805"):
        length_controlled_win_rate([annotation(2.0)] * 804 + [annotation(None)], [0.0] * 805)
