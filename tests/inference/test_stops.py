"""Where a response in plain text ends, and what of it is kept."""

import pytest

from response_tuning.inference.stops import StopRule

RULE = StopRule()

CODE = "Use a loop:\n\n```python\nfor river in rivers:\n    print(river)\n```"
BARE_CODE = "Type this:\n```\nls -l\n```\nIt lists files."


@pytest.mark.parametrize(
    ("generated", "kept"),
    [
        ("\nRain is water.\n```\n\n# Query:\n```\nWhat is snow?", "Rain is water."),
        ("\nRain is water.\n```\n# Answer:\n", "Rain is water."),
        ("\nRain is water.\n\n# Query:\n```\nAnd", "Rain is water."),
        ("\nRain is water.\n# Instruction\n\nBelow", "Rain is water."),
        ("\nRain is water.\n```", "Rain is water."),
        ("\nRain is water.\n```   \n \nMore", "Rain is water."),
        (f"\n{CODE}\n```\n\n# Query:\n", CODE),
        (f"\n{CODE}\n\n# Query:\n```\n", CODE),  # one fence closes both
        (f"\n{CODE}", None),
        (f"\n{BARE_CODE}\n```\n\n# Query:", BARE_CODE),
        ("\n```\nls -l\n```\n```\n\n", "```\nls -l\n```"),
        ("\n1. Run\n\n   ```\n   ls\n   ```\n2. Read\n```\n\n", "1. Run\n\n   ```\n   ls\n   ```\n2. Read"),
        ("\n````markdown\n```\ncode\n```\n\n````\nDone.\n```\n\n", "````markdown\n```\ncode\n```\n\n````\nDone."),
        ("\n~~~\n```\n\n~~~\nDone.\n```\n\nNo", "~~~\n```\n\n~~~\nDone."),
        ("\n```sql\n# Query: all rows\nselect 1\n```\n```\n\n", "```sql\n# Query: all rows\nselect 1\n```"),
        ("\n```python\nprint(1)\n# Query:\n```\nWhat", "```python\nprint(1)"),
        ("\n```\n\n# Query:", ""),
        ("# Query:\n```", ""),
        ("\nA heading:\n## Query:\nis text, as is the # Query: here.", None),
        ("\nThe mark ``` is a fence, and ```js too.", None),
        ("\nRain is", None),
    ],
)
def test_what_ends_a_response_is_removed_and_its_own_code_stays(generated: str, kept: str | None) -> None:
    text, ended = RULE.cut(generated)
    assert text == (generated.strip() if kept is None else kept)
    assert ended == (kept is not None)


@pytest.mark.parametrize(
    "generated",
    [
        "\nRain is water.\n```\n\n# Query:\n```\nWhat is snow?\n```\n\n# Answer:\n",
        f"\n{CODE}\n```\n\n# Query:\n```\n",
        f"\n{BARE_CODE}\n```\n# Query:\n```\n",
        "\n```sql\n# Query: all\n```\n\n# Query:\nmore\n",
    ],
)
def test_text_that_arrives_in_pieces_ends_where_the_whole_does_and_shows_nothing_that_ends_it(generated: str) -> None:
    whole = RULE.cut(generated)[0]
    ends = [RULE.end(generated[:count]) for count in range(len(generated) + 1)]
    first = next(count for count, end in enumerate(ends) if end is not None)
    assert ends[:first] == [None] * first
    assert {generated[: end or 0].strip() for end in ends[first:]} == {whole}
    for count in range(len(generated) + 1):
        shown = generated[: RULE.settled(generated[:count])]
        assert whole.startswith(shown.strip())
