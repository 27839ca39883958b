"""The findings of a check of a data set."""

from dataclasses import dataclass, field

from response_tuning.data.quality.token_lengths import ShownToken, TokenLengths

__all__ = ["Finding", "QualityReport", "Summary"]


@dataclass(frozen=True)
class Finding:
    """A finding about one row."""

    kind: str
    place: str
    number: int
    """The line or row, from 1."""
    reason: str


@dataclass(frozen=True)
class Summary:
    """Summary statistics of a quantity over the rows."""

    smallest: float
    median: float
    mean: float
    percentile_95: float
    largest: float


@dataclass
class QualityReport:
    """All findings about a data set."""

    source: str
    rows: int = 0
    good_rows: int = 0
    """Rows without a defect."""
    defects: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    languages: dict[str, int] = field(default_factory=dict)
    """Rows by the language of the response; "unclear" for short responses and code."""
    evaluation_sets: list[str] = field(default_factory=list)
    """The evaluation sets that rows were compared with."""
    response_characters: Summary | None = None
    response_words: Summary | None = None
    tokens: Summary | None = None
    token_lengths: TokenLengths | None = None
    tokens_not_counted: str = ""
    """Why tokens were not counted; empty if they were."""
    shown: list[ShownToken] = field(default_factory=list)
    shown_place: str = ""
    rows_kept: int | None = None
    """Rows in the cleaned file; None if none was written."""
