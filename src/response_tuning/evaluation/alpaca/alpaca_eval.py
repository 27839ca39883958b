"""AlpacaEval: does a judge prefer a model's responses to a reference's, over 805 instructions?

Each pair is judged in both orders, because judges have a position bias; the preference is the mean of the two. Dubois
et al. 2024 (arXiv 2404.04475) ask once in a random order and weight by token probabilities, which few judges return.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from response_tuning.asking.ask import Failure
from response_tuning.data.sampling import draw
from response_tuning.evaluation.alpaca.alpaca_config import AlpacaConfig
from response_tuning.evaluation.alpaca.alpaca_format import (
    Anchor,
    Annotation,
    ModelOutput,
    difficulties_by_instruction,
    read_anchors,
    read_difficulties,
    read_model_outputs,
    write_annotations,
    write_model_outputs,
)
from response_tuning.evaluation.alpaca.length_control import LengthControlledWinRate, length_controlled_win_rate
from response_tuning.evaluation.alpaca.win_rate import ALPACA_EVAL_SIZE, WinRate, win_rate
from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluate_judged import Cases, Judged, Role, evaluate_judged
from response_tuning.evaluation.shared.judge import Case, Judgement
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.support.assets import ASSETS, fetch
from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say

__all__ = ["PUBLISHED_REFERENCES", "AlpacaResult", "evaluate_alpaca", "length_controlled"]

PUBLISHED_REFERENCES = ("gpt4_1106_preview", "text_davinci_003")
"""Model outputs that can be fetched, by name."""
_OUTPUTS = "model_outputs.json"
_ANNOTATIONS = "annotations.json"
# The preference of alpaca_eval: 1 for the reference, 2 for the model. In the first order A is the reference.
_FIRST_ORDER = {"A": 1.0, "B": 2.0, "TIE": 1.5}
_SECOND_ORDER = {"A": 2.0, "B": 1.0, "TIE": 1.5}


@dataclass(frozen=True)
class AlpacaResult:
    """Win rates against a reference, and the rows behind them."""

    model: str
    reference: str
    instructions: int
    characters: Estimate
    """The mean length of the responses."""
    reference_characters: Estimate
    win_rate: WinRate | None
    """None without a judge."""
    length_controlled: LengthControlledWinRate | None
    """None without a judge, or if the difficulties of the instructions are not available."""
    agreement: Estimate | None
    """The proportion of pairs with the same verdict in both orders."""
    without_verdict: int
    """Instructions without a verdict in at least one order."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return {
            "instructions": self.instructions,
            "characters": self.characters,
            "reference_characters": self.reference_characters,
            "win_rate": self.win_rate,
            "length_controlled_win_rate": self.length_controlled,
            "agreement_of_orders": self.agreement,
            "without_verdict": self.without_verdict,
        }


def evaluate_alpaca(config: AlpacaConfig) -> AlpacaResult | None:
    """Answer the instructions, have pairs judged, and save; None after a dry run.

    Besides the usual files, ``model_outputs.json`` and ``annotations.json`` are saved as alpaca_eval reads them.

    Raises:
        UserError: the reference is not available, the model cannot be loaded or asked, or verdicts are missing.
    """
    folder = results_folder(config.model, "alpaca", config.output)
    every = _reference(config)
    reference = draw(every, config.max_examples, seed=0)

    def outputs_of(answered: Answered) -> list[ModelOutput]:
        return _model_outputs(config, reference, answered)

    def measure(answered: Answered, judged: Judged) -> AlpacaResult:
        outputs, judgements = outputs_of(answered), [*judged.get("", {}).values()]
        annotations = _annotations(config, reference, outputs, judgements) if judgements else []
        if annotations:
            write_annotations(folder / _ANNOTATIONS, annotations)
        return _result(config, every, reference, outputs, annotations, judgements)

    return evaluate_judged(
        config,
        "alpaca",
        [output.instruction for output in reference],
        keep=lambda answered: write_model_outputs(folder / _OUTPUTS, outputs_of(answered)),
        roles=[Role(config, lambda answered: _cases(reference, outputs_of(answered)), _parse)],
        measure=measure,
        judge=config.judge,
    )


def _reference(config: AlpacaConfig) -> list[ModelOutput]:
    """The reference's outputs, in AlpacaEval's order; the instructions are taken from them."""
    if config.reference in PUBLISHED_REFERENCES:
        path = fetch(ASSETS[config.reference], offline=config.offline)
    else:
        path = Path(config.reference)
        if path.is_dir():
            path = path / "evaluations" / "alpaca" / _OUTPUTS
            if not path.exists():
                answer = command("eval", "alpaca", config.reference)
                raise UserError(f"{config.reference} has no responses yet. Run: {answer}")
    outputs = read_model_outputs(path)
    if config.max_examples is None and len(outputs) < ALPACA_EVAL_SIZE:
        raise UserError(
            f"{path} answers {len(outputs)} of AlpacaEval's {ALPACA_EVAL_SIZE} instructions. Give a complete file, or "
            "limit the number of instructions with --max-examples."
        )
    return outputs


def _model_outputs(config: AlpacaConfig, reference: Sequence[ModelOutput], answered: Answered) -> list[ModelOutput]:
    failures = [response for response in answered.responses if isinstance(response, Failure)]
    refused = [failure for failure in failures if failure.is_refusal]
    if len(failures) > len(refused) or len(refused) > config.allow_unparsed:
        allowed = (
            f", or --allow-unparsed {len(refused)} to count them as empty" if len(refused) == len(failures) else ""
        )
        raise UserError(
            f"{len(failures)} of {len(reference)} instructions have no response, the first because: "
            f"{failures[0].reason} Add --retry-errors to ask for them again{allowed}."
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


def _cases(reference: Sequence[ModelOutput], outputs: Sequence[ModelOutput]) -> Cases:
    """Two consecutive cases per instruction: with the reference first, and with the model first."""
    orders = [texts for of, output in zip(reference, outputs, strict=True) for texts in ((of, output), (output, of))]
    return {
        number: Case(
            "preference",
            {"prompt": first.instruction, "first": first.output, "second": second.output},
            package="response_tuning.evaluation.alpaca",
        )
        for number, (first, second) in enumerate(orders)
    }


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
    """The mean over both orders; None unless both have a verdict."""
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
        model=config.model,
        reference=config.reference,
        instructions=len(outputs),
        characters=estimate_mean([float(len(output.output)) for output in outputs]),
        reference_characters=estimate_mean([float(len(output.output)) for output in reference]),
        win_rate=win_rate(annotations, expected=expected) if annotations else None,
        length_controlled=length_controlled(config, [of.instruction for of in every], annotations, expected)
        if annotations
        else None,
        agreement=estimate_mean([float(_FIRST_ORDER[a] == _SECOND_ORDER[b]) for a, b in both]) if both else None,
        without_verdict=sum(annotation.preference is None for annotation in annotations),
        rows=_rows(outputs, reference, annotations, judgements),
    )


def length_controlled(
    config: AlpacaConfig, instructions: Sequence[str], annotations: Sequence[Annotation], expected: int
) -> LengthControlledWinRate | None:
    """The length-controlled win rate; without difficulties of the instructions, the reason is printed.

    Args:
        config: where difficulties and anchors are.
        instructions: all of the reference's, in the order of the difficulties.
        annotations: verdicts on these or some of them.
        expected: the minimum number of preferences.

    Raises:
        UserError: difficulties or anchors that the options name are missing, bad, or of other instructions.
    """
    if sum(annotation.preference is not None for annotation in annotations) < 2:
        say("No length-controlled win rate: it needs at least two instructions.")
        return None
    try:
        path = config.difficulty or fetch(ASSETS["alpaca-eval-difficulty"], offline=config.offline)
        # Difficulties are published by position: a reference with only some of the instructions has none.
        difficulties = difficulties_by_instruction(annotations, instructions, read_difficulties(path))
    except UserError as error:
        if config.difficulty is not None:
            raise
        say(f"No length-controlled win rate: {error}")
        return None
    return length_controlled_win_rate(annotations, difficulties, anchors=_anchors(config), expected=expected)


def _anchors(config: AlpacaConfig) -> list[Anchor]:
    """The anchors; none, with the reason printed, if the published file is not available."""
    try:
        return read_anchors(config.anchors or fetch(ASSETS["alpaca-eval-anchors"], offline=config.offline))
    except UserError as error:
        if config.anchors is not None:
            raise
        say(f"The length-controlled win rate is fitted without anchors, so it differs from published ones: {error}")
        return []


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
