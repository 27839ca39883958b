"""How well each measure of a response agrees with labels: what may be a headline, and what is a symptom only.

The labels are those of ``data/calibration`` (``guide.md`` there says how they were made). Thresholds were chosen on the
responses to one half of the prompts; the numbers here are from the other half. ``docs/evaluation.md`` has the commands.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from response_tuning.evaluation.shared.statistics import Estimate

__all__ = [
    "KNOWN_AGREEMENT",
    "RELIABLE_KAPPA",
    "KnownAgreement",
    "agreement_facts",
    "describe_agreement",
    "is_symptom",
]

RELIABLE_KAPPA = 0.6
"""Below it a measure is a symptom, not a result: "substantial" agreement begins at 0.61 (Landis & Koch 1977)."""


@dataclass(frozen=True)
class KnownAgreement:
    """The agreement of a measure with labels of whether a response does what was asked."""

    label: str
    """The label: ``follows``, right or wrong, or ``correct``."""
    kappa: Estimate
    """Cohen's kappa, with a bootstrap over prompts; n counts responses."""
    negated: bool = False
    """Whether the absence of the measure is compared: a good response does not loop."""


KNOWN_AGREEMENT: Mapping[str, KnownAgreement] = {
    "responds": KnownAgreement("follows", Estimate(0.5592, 219, 0.4119, 0.6888)),
    "stops": KnownAgreement("follows", Estimate(0.3236, 199, 0.2181, 0.449)),
    "loops": KnownAgreement("follows", Estimate(0.2962, 219, 0.1773, 0.4272), negated=True),
    "copies": KnownAgreement("follows", Estimate(0.1017, 219, 0.0198, 0.202), negated=True),
    "on_topic": KnownAgreement("follows", Estimate(0.0341, 219, -0.0138, 0.0824)),
}
"""By the name of the measure, from ``rt eval agreement calibration --measure NAME`` on 2026-11-25; for negated measures
with ``--map-label yes=no no=yes``."""


def is_symptom(measure: str) -> bool:
    """Whether a measure is known to agree too little with labels to be anything but a symptom."""
    known = KNOWN_AGREEMENT.get(measure)
    return known is not None and known.kappa.value < RELIABLE_KAPPA


def describe_agreement(measure: str) -> str:
    """The agreement of a measure in a phrase; empty where it is not known."""
    known = KNOWN_AGREEMENT.get(measure)
    if known is None:
        return ""
    of = f"{'not ' if known.negated else ''}{measure}"
    estimate = known.kappa
    interval = f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
    return f"{of}: kappa {interval} with {estimate.n} labels of '{known.label}'"


def agreement_facts(measures: Iterable[str]) -> dict[str, dict[str, object]]:
    """The known agreement of measures as ``metrics.json`` has it, by measure."""
    return {
        measure: {
            "label": known.label,
            "negated": known.negated,
            "kappa": {name: getattr(known.kappa, name) for name in ("value", "n", "low", "high")},
            "is_symptom": is_symptom(measure),
        }
        for measure in measures
        if (known := KNOWN_AGREEMENT.get(measure)) is not None
    }
