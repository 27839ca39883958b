"""Win rates from a file of verdicts, published by alpaca_eval or saved before: without a model or a judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from response_tuning.data.sampling import draw
from response_tuning.evaluation.alpaca.alpaca_config import AlpacaConfig
from response_tuning.evaluation.alpaca.alpaca_eval import PUBLISHED_REFERENCES, AlpacaResult, length_controlled
from response_tuning.evaluation.alpaca.alpaca_format import Annotation, read_annotations, read_model_outputs
from response_tuning.evaluation.alpaca.win_rate import ALPACA_EVAL_SIZE, win_rate
from response_tuning.evaluation.shared.results import results_folder, save_metrics, save_responses
from response_tuning.evaluation.shared.statistics import estimate_mean
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say

__all__ = ["evaluate_annotations"]

_SETTINGS = {"max_examples", "allow_unparsed", "difficulty", "anchors", "annotations"}


def evaluate_annotations(config: AlpacaConfig) -> AlpacaResult:
    """The win rates of ``config.annotations``, saved in ``config.output`` if there is one.

    Raises:
        UserError: the file cannot be read or has bad rows, or too many verdicts are missing.
    """
    assert config.annotations is not None
    every = read_annotations(config.annotations)
    annotations = draw(every, config.max_examples, seed=0)
    if len(annotations) < ALPACA_EVAL_SIZE:
        say(
            f"{len(annotations)} of AlpacaEval's {ALPACA_EVAL_SIZE} instructions have an annotation: the win rates are "
            "not comparable with those of all."
        )
    expected = max(len(annotations) - config.allow_unparsed, 1)
    rates = win_rate(annotations, expected=expected)
    result = AlpacaResult(
        model=annotations[0].generator_2,
        reference=annotations[0].generator_1,
        instructions=len(annotations),
        characters=estimate_mean([float(len(row.output_2)) for row in annotations]),
        reference_characters=estimate_mean([float(len(row.output_1)) for row in annotations]),
        win_rate=rates,
        length_controlled=length_controlled(config, _instructions(config, every), annotations, expected),
        agreement=None,
        without_verdict=sum(row.preference is None for row in annotations),
        rows=[_row(row) for row in annotations],
    )
    if config.output is not None:
        _save(config, result, annotations)
    return result


def _instructions(config: AlpacaConfig, annotations: Sequence[Annotation]) -> list[str]:
    """The instructions in the order of their difficulties: that of a complete file, or of the reference's outputs."""
    own = [row.instruction for row in annotations]
    if len(own) == ALPACA_EVAL_SIZE or config.difficulty is not None:
        return own
    is_published = config.reference in PUBLISHED_REFERENCES
    try:
        path = fetch(ASSETS[config.reference], offline=config.offline) if is_published else config.reference
        return [output.instruction for output in read_model_outputs(Path(path))]
    except UserError:
        return own


def _row(annotation: Annotation) -> dict[str, Any]:
    values = {"characters": float(len(annotation.output_2))}
    if annotation.model_preference is not None:
        values["win"] = annotation.model_preference
    return {
        "prompt": annotation.instruction,
        "response": annotation.output_2,
        "reference": annotation.output_1,
        "values": values,
    }


def _save(config: AlpacaConfig, result: AlpacaResult, annotations: Sequence[Annotation]) -> None:
    folder = results_folder(result.model, "alpaca", config.output)
    save_responses(folder, "alpaca", model=result.model, rows=result.rows)
    save_metrics(
        folder,
        "alpaca",
        metrics=result.metrics,
        settings={"model": result.model, **config.model_dump(mode="json", include=_SETTINGS)},
        backend={},
        judge=annotations[0].annotator,
    )
