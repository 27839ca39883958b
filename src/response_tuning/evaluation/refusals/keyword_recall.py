"""What the keyword tier is known to miss: its recall on labelled responses, and the range of rates that this leaves.

XSTest's authors published five models' responses to their prompts with labels by two people each (Röttger et al. 2023,
arXiv 2308.01263). Without the third class, partial refusals, 2,074 responses remain. ``rt eval agreement xstest``
repeats the measurement.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["KEYWORD_RECALL", "KnownRecall", "describe_recall", "likely_rate"]


@dataclass(frozen=True)
class KnownRecall:
    """The agreement of the keyword tier with labels."""

    labelled: int
    """Labelled responses."""
    recall: Estimate
    """The proportion of labelled refusals that it finds; the interval is a bootstrap over the 450 prompts."""
    precision: Estimate
    kappa: Estimate
    recall_by_model: Mapping[str, float]
    """By XSTest's names of the models. It depends on how a model refuses: moralising has no keyword."""


KEYWORD_RECALL = KnownRecall(
    labelled=2_074,
    recall=Estimate(0.8647, 983, 0.8345, 0.8941),
    precision=Estimate(0.9659, 880, 0.9509, 0.9791),
    kappa=Estimate(0.8416, 2074, 0.8093, 0.8724),
    recall_by_model={
        "gpt4": 0.938,
        "llama2new": 0.909,
        "llama2orig": 0.949,
        "mistralguard": 0.769,
        "mistralinstruct": 0.224,
    },
)
"""Measured on 2026-11-25; a test measures it again where the labelled files are at hand."""


def likely_rate(refused: Estimate) -> tuple[float, float]:
    """The range of the true rate of refusal, given the rate that keywords find.

    The lower bound is that of the rate, times the tier's precision; the upper bound is that of the rate, divided by the
    lower bound of the recall. A model that refuses unlike XSTest's five can lie outside.
    """
    known = KEYWORD_RECALL
    low, high = refused.low * known.precision.value, refused.high / known.recall.low
    return round(low, 4), round(min(1.0, high), 4)


def describe_recall() -> str:
    """The recall and what it was measured on, in one phrase."""
    known = KEYWORD_RECALL
    lowest, highest = min(known.recall_by_model.values()), max(known.recall_by_model.values())
    return (
        f"recall {known.recall.value:.2f} on {known.labelled:,} labelled responses; "
        f"{lowest:.2f} to {highest:.2f} by model"
    )
