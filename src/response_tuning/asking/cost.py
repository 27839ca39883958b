"""The cost of asking, estimated before the first question: tokens, time and money."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from response_tuning.asking.ask import Question
from response_tuning.asking.ask_options import AskOptions

__all__ = ["Cost", "estimate_cost"]

# Rough figures for text in European languages and for servers of ordinary speed; the printed line names the second.
_CHARACTERS_PER_TOKEN = 4
_TOKENS_PER_SECOND = 40


@dataclass(frozen=True)
class Cost:
    """What it takes to ask some questions."""

    questions: int
    input_tokens: int
    output_tokens: int
    seconds: float
    usd: float | None
    """None where no price was given."""
    is_measured: bool
    """Whether the time is based on earlier answers of this model, rather than on the speed of an ordinary server."""

    def __str__(self) -> str:
        price = "" if self.usd is None else f", about {self.usd:,.2f} USD"
        basis = "measured on earlier answers" if self.is_measured else f"at {_TOKENS_PER_SECOND} tokens/s each"
        return (
            f"{self.questions:,} questions: about {self.input_tokens:,} tokens in and {self.output_tokens:,} out, "
            f"{timedelta(seconds=round(self.seconds))} ({basis}){price}"
        )


def estimate_cost(
    questions: Sequence[Question], options: AskOptions, *, seconds_of_answers: Sequence[float] = ()
) -> Cost:
    """Estimate the cost of asking ``questions``.

    Args:
        questions: what will be asked.
        options: the number of concurrent questions, and the prices.
        seconds_of_answers: the time that earlier answers of this model took, where there are any.
    """
    input_tokens = sum(
        len(question.text) + len(question.system or "") + sum(len(turn.content) for turn in question.earlier_turns)
        for question in questions
    )
    input_tokens //= _CHARACTERS_PER_TOKEN
    output_tokens = sum(question.expected_characters for question in questions) // _CHARACTERS_PER_TOKEN
    concurrent = min(options.concurrency, max(len(questions), 1))
    if seconds_of_answers:
        seconds = len(questions) * sum(seconds_of_answers) / len(seconds_of_answers) / concurrent
    else:
        seconds = output_tokens / _TOKENS_PER_SECOND / concurrent
    prices = (options.input_usd_per_million, options.output_usd_per_million)
    usd = None
    if any(price is not None for price in prices):
        usd = (input_tokens * (prices[0] or 0) + output_tokens * (prices[1] or 0)) / 1e6
    return Cost(len(questions), input_tokens, output_tokens, seconds, usd, bool(seconds_of_answers))
