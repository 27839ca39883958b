from time import process_time

import pytest

from response_tuning.synthesis.facts import lost_facts
from response_tuning.synthesis.revision import find_revision


@pytest.mark.parametrize(
    ("original", "revision", "lost"),
    [
        ("It has 3 parts.", "There are three parts.", []),
        ("It has 3 parts.", "There are some parts.", ["3"]),
        ("It cost 1,250,000 dollars.", "It cost 1250000 dollars.", []),
        ("Pi is 3.14 or so.", "Pi is roughly 3.", ["3.14"]),
        ("1. Boil water.\n2. Add 2 eggs.", "Boil water, then add two eggs.", []),
        ("We flew from Lima to Oslo.", "From Lima we flew to Oslo.", []),
        ("We flew from Lima to Oslo.", "From the south we flew to Oslo.", ["Lima"]),
        ("In May we met Jane's brother.", "Jane and her brother met us in May.", []),
        ("Water boils. Then it cools.", "It cools after boiling.", []),
        ("\u201cGo,\u201d she said. \u2018Now.\u2019 It\u2019s late.", "It is late, go now, she said.", []),
        ("Benefits of Green Tea\nIt wakes you.", "Why tea? It wakes you.", []),
        ("They speak Franco-German now.", "Now they speak Franco-German.", []),
        ("Use the Internet; the internet is fast.", "The net is fast.", []),
        ("\u6771\u4eac\u306f2020\u5e74\u3067\u3059\u3002", "2020\u5e74\u306e\u6771\u4eac\u3067\u3059\u3002", []),
    ],
)
def test_lost_numbers_and_names_are_found(original: str, revision: str, lost: list[str]) -> None:
    assert lost_facts(original, revision) == lost


@pytest.mark.parametrize(
    "text",
    [
        "We met Anna Berger at noon, " * 3_700,  # 104,000 characters in one line
        "\n" * 100_000 + "We met Anna.",
        "* " * 50_000 + "Anna",
        "We owe " + "1" * 5_000 + " francs to " + "A'" * 50_000,
        "-" * 100_000,
    ],
)
def test_lost_facts_takes_linear_time(text: str) -> None:
    before = process_time()
    assert lost_facts(text, text) == []
    assert find_revision(f"### Revision\n{text}.\n\nx", text) is not None
    assert process_time() - before < 2
