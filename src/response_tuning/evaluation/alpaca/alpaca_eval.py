"""AlpacaEval: is a response better than a reference's, by a judge's preference over 805 instructions?

Each pair is judged in both orders, since judges favour a place; the preference is the mean of the two. Dubois et al.
2024 (arXiv 2404.04475) ask once in a random order and weigh by token probabilities, which few judges show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.data.sampling import draw
from response_tuning.evaluation.alpaca.alpaca_format import (
    Annotation,
    ModelOutput,
    difficulties_by_instruction,
    read_difficulties,
    read_model_outputs,
    write_annotations,
    write_model_outputs,
)
from response_tuning.evaluation.alpaca.win_rate import (
    ALPACA_EVAL_SIZE,
    LengthControlledWinRate,
    WinRate,
    length_controlled_win_rate,
    win_rate,
)
from response_tuning.evaluation.evaluation_config import AlpacaConfig
from response_tuning.evaluation.shared.answering import Answered, respond
from response_tuning.evaluation.shared.judge import Case, Judgement, forecast_judging, judge_cases
from response_tuning.evaluation.shared.results import results_folder, save_evaluation
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say

__all__ = ["AlpacaResult", "evaluate_alpaca"]

_PUBLISHED = ("gpt4_1106_preview", "text_davinci_003")
_OUTPUTS = "model_outputs.json"
_ANNOTATIONS = "annotations.json"
# The preference of alpaca_eval: 1 for the reference, 2 for the model. In the first order A is the reference.
_FIRST_ORDER = {"A": 1.0, "B": 2.0, "TIE": 1.5}
_SECOND_ORDER = {"A": 2.0, "B": 1.0, "TIE": 1.5}


@dataclass(frozen=True)
class AlpacaResult:
    """Win rates over a reference, and what they came from."""

    instructions: int
    characters: Estimate
    """The mean length of the responses."""
    reference_characters: Estimate
    win_rate: WinRate | None
    """None where nobody judged."""
    length_controlled: LengthControlledWinRate | None
    """None where nobody judged, or the instructions' difficulties cannot be had."""
    agreement: Estimate | None
    """The share of pairs with the same verdict in both orders."""
    without_verdict: int
    """Instructions of which a verdict is missing in at least one order."""
    rows: list[dict[str, Any]]


def evaluate_alpaca(config: AlpacaConfig) -> AlpacaResult | None:
    """Answer the instructions, have pairs judged, and save; None after a dry run.

    Raises:
        UserError: the reference cannot be had, the model cannot be loaded or asked, or verdicts are missing.
    """
    folder = results_folder(config.model, "alpaca", config.output)
    every = _reference(config)
    reference = draw(every, config.max_examples, seed=0)
    instructions = [output.instruction for output in reference]
    answered = respond(config, instructions, folder=folder, judges=config.judges())
    if answered is None:
        return None
    outputs = _model_outputs(config, reference, answered)
    write_model_outputs(folder / _OUTPUTS, outputs)
    annotations: list[Annotation] = []
    judgements: list[Judgement] = []
    if config.judge is not None:
        cases = _cases(reference, outputs)
        say(f"judging: {forecast_judging(cases, config, folder=folder)}")
        if config.dry_run:
            return None
        judgements = judge_cases(cases, config, _parse, folder=folder)
        annotations = _annotations(config, reference, outputs, judgements)
        write_annotations(folder / _ANNOTATIONS, annotations)
    result = _result(config, every, reference, outputs, annotations, judgements)
    _save(folder, config, answered, result)
    return result


def _reference(config: AlpacaConfig) -> list[ModelOutput]:
    """The reference's outputs, in AlpacaEval's order; they also say which instructions there are."""
    if config.reference in _PUBLISHED:
        path = fetch(ASSETS[config.reference], offline=config.offline)
    else:
        path = Path(config.reference)
        if path.is_dir():
            path = path / "evaluations" / "alpaca" / _OUTPUTS
            if not path.exists():
                raise UserError(f"{config.reference} has not answered yet: rt eval alpaca {config.reference}")
    outputs = read_model_outputs(path)
    if config.max_examples is None and len(outputs) < ALPACA_EVAL_SIZE:
        raise UserError(
            f"{path} answers {len(outputs)} of AlpacaEval's {ALPACA_EVAL_SIZE} instructions. Give a whole file, or "
            "say how many to use: --max-examples."
        )
    return outputs


def _model_outputs(config: AlpacaConfig, reference: Sequence[ModelOutput], answered: Answered) -> list[ModelOutput]:
    failures = [response for response in answered.responses if isinstance(response, Failure)]
    if failures:
        raise UserError(
            f"{len(failures)} of {len(reference)} instructions have no response, the first because: "
            f"{failures[0].reason} The same command goes on with --retry-errors."
        )
    return [
        ModelOutput(
            instruction=of.instruction,
            output="" if isinstance(response, Failure) else response.text,
            generator=config.model,
            dataset=of.dataset,
        )
        for of, response in zip(reference, answered.responses, strict=True)
    ]


def _cases(reference: Sequence[ModelOutput], outputs: Sequence[ModelOutput]) -> list[Case]:
    """Two for each instruction, one after the other: reference first, model first."""
    orders = [texts for of, output in zip(reference, outputs, strict=True) for texts in ((of, output), (output, of))]
    return [
        Case("preference", {"prompt": first.instruction, "first": first.output, "second": second.output})
        for first, second in orders
    ]


def _parse(_: Case, payload: str) -> str | None:
    return payload.upper() if payload.upper() in _FIRST_ORDER else None


def _annotations(
    config: AlpacaConfig,
    reference: Sequence[ModelOutput],
    outputs: Sequence[ModelOutput],
    judgements: Sequence[Judgement],
) -> list[Annotation]:
    pairs = zip(judgements[::2], judgements[1::2], strict=True)
    return [
        Annotation(
            instruction=of.instruction,
            output_1=of.output,
            generator_1=of.generator,
            output_2=output.output,
            generator_2=output.generator,
            dataset=of.dataset,
            annotator=config.judge,
            preference=_preference(first, second),
        )
        for of, output, (first, second) in zip(reference, outputs, pairs, strict=True)
    ]


def _preference(first: Judgement, second: Judgement) -> float | None:
    """The mean over both orders; None unless there is a verdict in both."""
    if first.verdict is None or second.verdict is None:
        return None
    return (_FIRST_ORDER[first.verdict] + _SECOND_ORDER[second.verdict]) / 2


def _result(
    config: AlpacaConfig,
    every: Sequence[ModelOutput],
    reference: Sequence[ModelOutput],
    outputs: Sequence[ModelOutput],
    annotations: Sequence[Annotation],
    judgements: Sequence[Judgement],
) -> AlpacaResult:
    expected = max(len(reference) - config.allow_unparsed, 1)
    both = [
        (first.verdict, second.verdict)
        for first, second in zip(judgements[::2], judgements[1::2], strict=True)
        if first.verdict is not None and second.verdict is not None
    ]
    return AlpacaResult(
        instructions=len(outputs),
        characters=estimate_mean([float(len(output.output)) for output in outputs]),
        reference_characters=estimate_mean([float(len(output.output)) for output in reference]),
        win_rate=win_rate(annotations, expected=expected) if annotations else None,
        length_controlled=_length_controlled(config, every, annotations, expected) if annotations else None,
        agreement=estimate_mean([float(_FIRST_ORDER[a] == _SECOND_ORDER[b]) for a, b in both]) if both else None,
        without_verdict=sum(annotation.preference is None for annotation in annotations),
        rows=_rows(outputs, reference, annotations, judgements),
    )


def _length_controlled(
    config: AlpacaConfig, every: Sequence[ModelOutput], annotations: Sequence[Annotation], expected: int
) -> LengthControlledWinRate | None:
    if sum(annotation.preference is not None for annotation in annotations) < 2:
        say("No length-controlled win rate: it takes at least two instructions.")
        return None
    try:
        path = config.difficulty or fetch(ASSETS["alpaca-eval-difficulty"], offline=config.offline)
        # Difficulties are known by their place: a reference that answered only some instructions has none.
        difficulties = difficulties_by_instruction(
            annotations, [output.instruction for output in every], read_difficulties(path)
        )
    except UserError as error:
        if config.difficulty is not None:
            raise
        say(f"No length-controlled win rate: {error}")
        return None
    return length_controlled_win_rate(annotations, difficulties, expected=expected)


def _rows(
    outputs: Sequence[ModelOutput],
    reference: Sequence[ModelOutput],
    annotations: Sequence[Annotation],
    judgements: Sequence[Judgement],
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, (output, of) in enumerate(zip(outputs, reference, strict=True)):
        values = {"characters": float(len(output.output))}
        row: dict[str, Any] = {"prompt": output.instruction, "response": output.output, "reference": of.output}
        if annotations:
            orders = judgements[2 * number : 2 * number + 2]
            preferred = annotations[number].model_preference
            row["state"] = [judgement.state for judgement in orders]
            row["answer"] = "\n\n---\n\n".join(judgement.answer for judgement in orders)
            if preferred is not None:
                values["win"] = preferred
        rows.append({**row, "values": values})
    return rows


def _save(folder: Path, config: AlpacaConfig, answered: Answered, result: AlpacaResult) -> None:
    save_evaluation(
        folder,
        "alpaca",
        config=config,
        answered=answered,
        metrics={
            "instructions": result.instructions,
            "characters": result.characters,
            "reference_characters": result.reference_characters,
            "win_rate": result.win_rate,
            "length_controlled_win_rate": result.length_controlled,
            "agreement_of_orders": result.agreement,
            "without_verdict": result.without_verdict,
        },
        rows=result.rows,
        judge=config.judge,
    )
