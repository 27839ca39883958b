"""Screens with a known answer: for the training round of raters, and as attention checks among their screens."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ATTENTION_CHECKS", "TRAINING", "SampleScreen"]


class SampleScreen(BaseModel):
    """One screen whose answer is known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str
    left: str
    right: str | None = None
    """Absent where the protocol shows one response."""
    left_acceptable: bool
    """Whether the left response is acceptable."""
    right_acceptable: bool | None = None
    preferred: float | None = Field(default=None, ge=0, le=1)
    """What the left response wins; None where any answer will do."""
    explanation: str = ""
    """Why, for the training round."""

    def is_answered(self, acceptable: tuple[bool, ...], left_wins: float | None) -> bool:
        """Whether a vote says what is known: the acceptability of each response, and the preference."""
        known = (self.left_acceptable, self.right_acceptable)[: len(acceptable)]
        says = all(truth is None or truth == said for truth, said in zip(known, acceptable, strict=True))
        return says and (self.preferred is None or left_wins is None or self.preferred == left_wins)


TRAINING = (
    SampleScreen(
        prompt="Name two rivers of France.",
        left="The Loire and the Garonne.",
        right="France is a country in Europe with a long history, a rich cuisine and many famous buildings.",
        left_acceptable=True,
        right_acceptable=False,
        preferred=1,
        explanation="The left response names two rivers, which is all that was asked: a short response can be the "
        "best. The right one is fluent and true, but names no river.",
    ),
    SampleScreen(
        prompt="Write one sentence that invites a neighbour to tea on Sunday.",
        left="Please come to tea please come to tea please come to tea please come to tea please come to",
        right="Would you like to come over for tea on Sunday afternoon?",
        left_acceptable=False,
        right_acceptable=True,
        preferred=0,
        explanation="The left response repeats itself and never ends. A fault of form like this makes it not "
        "acceptable.",
    ),
    SampleScreen(
        prompt="How many minutes are in three hours?",
        left="180 minutes.",
        right="Three hours have 180 minutes, since each hour has 60.",
        left_acceptable=True,
        right_acceptable=True,
        explanation="Both are right and complete. Choose the one you would rather have received, or a tie: length "
        "alone is neither a fault nor a merit.",
    ),
)
"""Of the built-in protocols."""

ATTENTION_CHECKS = (
    SampleScreen(
        prompt="Write the days of the week in order, beginning with Monday.",
        left="Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.",
        right="Stir the onions until they are golden, then add the stock and let it simmer for an hour.",
        left_acceptable=True,
        right_acceptable=False,
        preferred=1,
    ),
    SampleScreen(
        prompt="What colour do you get when you mix blue and yellow paint?",
        left="the the the the the the the the the the the the the the the the the",
        right="Mixing blue and yellow paint gives green.",
        left_acceptable=False,
        right_acceptable=True,
        preferred=0,
    ),
    SampleScreen(
        prompt="Give a polite sentence to end a letter.",
        left="I look forward to hearing from you. With kind regards,",
        right="7 12 19 3 88 41 7 12 19 3 88 41",
        left_acceptable=True,
        right_acceptable=False,
        preferred=1,
    ),
    SampleScreen(
        prompt="Explain in one sentence what an umbrella is for.",
        left="No.",
        right="An umbrella keeps rain or strong sun off the person who holds it.",
        left_acceptable=False,
        right_acceptable=True,
        preferred=0,
    ),
)
"""Of the built-in protocols."""
