"""Verdicts on made-up responses, for the tests of win rates."""

from response_tuning.evaluation.alpaca.alpaca_format import Annotation

__all__ = ["annotation"]


def annotation(preference: float | None, *, number: int = 0, model_length: int = 10, length: int = 10) -> Annotation:
    """A verdict on responses of the given lengths."""
    return Annotation(
        instruction=f"instruction {number}",
        output_1="r" * length,
        generator_1="reference",
        output_2="m" * model_length,
        generator_2="model",
        preference=preference,
    )
