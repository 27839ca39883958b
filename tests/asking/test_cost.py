import pytest

from response_tuning.asking.ask import Question
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.cost import estimate_cost


def questions(count: int) -> list[Question]:
    return [
        Question(key=str(number), text="x" * 360, system="y" * 40, max_tokens=99, expected_characters=800)
        for number in range(count)
    ]


def test_tokens_time_and_cost_follow_from_lengths_and_prices() -> None:
    options = AskOptions(concurrency=5, input_usd_per_million=2.0, output_usd_per_million=10.0)
    expected = estimate_cost(questions(10), options)
    assert (expected.input_tokens, expected.output_tokens) == (1_000, 2_000)
    assert expected.seconds == pytest.approx(2_000 / 40 / 5)
    assert expected.usd == pytest.approx(0.022)
    assert str(expected).startswith("10 questions: about 1,000 tokens in and 2,000 out, 0:00:10 (at 40 tokens/s each)")
    assert str(expected).endswith("about 0.02 USD")


def test_time_rests_on_earlier_answers_where_there_are_some() -> None:
    expected = estimate_cost(questions(10), AskOptions(concurrency=2), seconds_of_answers=[3.0, 5.0])
    assert expected.seconds == pytest.approx(20.0)
    assert expected.usd is None
    assert "measured" in str(expected)


def test_nothing_to_ask_takes_nothing() -> None:
    expected = estimate_cost([], AskOptions())
    assert (expected.questions, expected.input_tokens, expected.seconds) == (0, 0, 0)
