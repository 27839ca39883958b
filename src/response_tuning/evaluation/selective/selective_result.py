"""What ``rt eval selective`` measures: a curve and a threshold for each confidence."""

from dataclasses import dataclass
from typing import Any

from response_tuning.evaluation.selective.correlation import Correlation
from response_tuning.evaluation.selective.risk_coverage import Abstention, RiskCoverage
from response_tuning.evaluation.shared.statistics import Estimate

__all__ = ["Selection", "SelectiveResult"]


@dataclass(frozen=True)
class Selection:
    """How well one confidence selects."""

    risk_coverage: RiskCoverage
    abstention: Abstention
    correlation: Correlation | None = None
    """With the scores; None where one of the two does not vary."""


@dataclass(frozen=True)
class SelectiveResult:
    """A curve and a threshold for each confidence, and the rows behind them."""

    quality: Estimate | None
    """The proportion of good responses at full coverage; None if no response could be rated."""
    decided_by: str
    """What decides quality: "responds", or the judge."""
    scored_by: str
    """What the confidences are correlated with: a file of scores, a judge's ratings, or quality."""
    selections: dict[str, Selection]
    """By confidence; without those that fewer than four responses have."""
    digit_share: Estimate | None
    """The probability that the model, asked for a rating, begins its reply with one; None without ``self``."""
    states: dict[str, int]
    """Responses by state: measured, no response, or what is missing and why."""
    rows: list[dict[str, Any]]

    @property
    def metrics(self) -> dict[str, Any]:
        """As in ``metrics.json``."""
        return {
            "quality": self.quality,
            "decided_by": self.decided_by,
            "scored_by": self.scored_by,
            "selections": self.selections,
            "digit_share": self.digit_share,
            "states": self.states,
        }
