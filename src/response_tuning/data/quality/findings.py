"""What a check found out about a data set."""

from dataclasses import dataclass, field

from response_tuning.data.quality.token_lengths import ShownToken, TokenLengths

__all__ = ["Finding", "QualityReport", "Summary"]


@dataclass(frozen=True)
class Finding:
    """Something about one row."""

    kind: str
    place: str
    number: int
    """The line, or the row, from 1."""
    reason: str


@dataclass(frozen=True)
class Summary:
    """How a quantity is spread over the rows."""

    smallest: float
    median: float
    mean: float
    percentile_95: float
    largest: float


@dataclass
class QualityReport:
    """All that was found out about a data set."""

    source: str
    rows: int = 0
    good_rows: int = 0
    """Rows without a defect."""
    defects: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    languages: dict[str, int] = field(default_factory=dict)
    """Rows by the language of their response; "unclear" for short ones and code."""
    evaluation_sets: list[str] = field(default_factory=list)
    """The sets that rows were compared with."""
    response_characters: Summary | None = None
    response_words: Summary | None = None
    tokens: Summary | None = None
    token_lengths: TokenLengths | None = None
    tokens_not_counted: str = ""
    """Why there are no lengths in tokens."""
    shown: list[ShownToken] = field(default_factory=list)
    shown_place: str = ""
    rows_kept: int | None = None
    """Rows of the cleaned file, where one was written."""
