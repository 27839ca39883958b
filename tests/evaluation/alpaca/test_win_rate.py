"""Win rates, against AlpacaEval's published figures where the real data are there."""

import csv
import gzip
import json
import warnings
from collections.abc import Sequence

import numpy as np
import pytest

from response_tuning.evaluation.alpaca import win_rate as win_rate_module
from response_tuning.evaluation.alpaca.alpaca_format import Annotation, read_difficulties
from response_tuning.evaluation.alpaca.win_rate import (
    LengthControlledWeights,
    length_controlled_win_rate,
    predicted_preferences,
    standard_error,
    win_rate,
)
from response_tuning.support.errors import UserError
from tests.conftest import SHARED_DATA

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


def annotation(preference: float | None, *, number: int = 0, model_length: int = 10, length: int = 10) -> Annotation:
    return Annotation(
        instruction=f"instruction {number}",
        output_1="r" * length,
        generator_1="reference",
        output_2="m" * model_length,
        generator_2="model",
        preference=preference,
    )


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


def test_the_win_rate_is_the_mean_preference_with_its_standard_error() -> None:
    preferences = [1.0, 2.0, 2.0, 1.25, 1.5, 0.0]
    result = win_rate([annotation(preference) for preference in preferences], expected=6)
    values = [0, 1, 1, 0.25, 0.5, 0.5]
    assert result.estimate.value == pytest.approx(sum(values) / 6, abs=1e-4)
    assert result.estimate.n == 6
    assert result.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(6))
    assert (result.wins, result.losses, result.draws) == (2, 2, 2)
    assert result.discrete == pytest.approx(0.5)


def test_a_single_value_has_no_standard_error() -> None:
    assert standard_error([0.3]) == 0


def test_fewer_verdicts_than_expected_are_refused() -> None:
    annotations = [annotation(2.0)] * 804 + [annotation(None)]
    with pytest.raises(UserError, match="Only 804 of 805 instructions have a verdict \\(1 of 805 verdicts could not"):
        win_rate(annotations)
    with pytest.raises(UserError, match="Only 804 of 805"):
        length_controlled_win_rate(annotations, [0.0] * 805)


def test_no_verdict_at_all_is_refused_even_where_none_is_expected() -> None:
    with pytest.raises(UserError, match="no verdicts"):
        win_rate([annotation(None)], expected=0)


def test_verdicts_that_could_not_be_read_count_neither_way() -> None:
    judged = [annotation(2.0)] * 3 + [annotation(1.0)]
    assert win_rate([*judged, annotation(None)], expected=4) == win_rate(judged, expected=4)


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
    monkeypatch.setattr(win_rate_module, "_RESAMPLES", 2)  # the interval is not looked at here
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


def test_variants_of_the_reference_keep_length_from_being_taken_for_strength() -> None:
    # All responses are longer by about the same factor: tanh hardly varies, so the fit cannot tell the two.
    generator = np.random.default_rng(3)
    lengths = [(int(length), int(3 * length)) for length in generator.integers(950, 1050, size=200)]
    difficulties = [0.0] * 200
    preferences = np.where(generator.random(200) < 0.8, 2.0, 1.0).tolist()
    annotations = [
        annotation(preference, number=number, length=reference, model_length=model)
        for number, (preference, (reference, model)) in enumerate(zip(preferences, lengths, strict=True))
    ]
    of_variants = made_up(2000)
    variant = simulated(LengthControlledWeights(-3.0, 0.0, 0.0), *of_variants)
    alone = length_controlled_win_rate(annotations, difficulties, expected=200)
    anchored = length_controlled_win_rate(
        annotations, difficulties, variants=[variant], variant_difficulties=[of_variants[0]], expected=200
    )
    assert alone.weights.length > -2 > anchored.weights.length
    assert anchored.estimate.value < alone.estimate.value - 0.2


def test_the_reference_against_itself_wins_half_the_time() -> None:
    same = [annotation(1.5).model_copy(update={"generator_2": "reference"})] * 805
    result = length_controlled_win_rate(same, [0.3] * 805)
    assert (result.estimate.value, result.estimate.low, result.estimate.high) == (0.5, 0.5, 0.5)


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
