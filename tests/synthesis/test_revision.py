"""Twenty ways in which a model gets the marker wrong, and what makes a revision unfit to replace its original."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from response_tuning.asking.ask import Answer, Failure
from response_tuning.synthesis.revision import MARKER, find_revision, judge_answer, marker_for

ORIGINAL = "The Apollo 11 crew, with Neil Armstrong, landed on July 20, 1969. It took 4 days."
REVISION = "Apollo 11 landed on July 20, 1969, after four days. Neil Armstrong was in the crew."


def answer(text: str) -> Answer:
    return Answer(text, "finished", 10, 10, 0.1)


@pytest.mark.parametrize(
    "text",
    [
        f"{MARKER}\n{REVISION}",
        f"Sure! Here is a clearer version.\n\n{MARKER}\n\n{REVISION}",
        f"### REVISION\n{REVISION}",
        f"## Revision\n{REVISION}",
        f"###Revision:\n{REVISION}",
        f"### Revision: {REVISION}",
        f"### Revised text\n{REVISION}",
        f"**Revision**\n{REVISION}",
        f"**Revision:** {REVISION}",
        f"**### Revision**\n{REVISION}",
        f"Revision:\n{REVISION}",
        f"Revised response: {REVISION}",
        f"The revised version:\n{REVISION}",
        f"[Revision]\n{REVISION}",
        f"<revision>\n{REVISION}",
        f"> ### Revision\n{REVISION}",
        f"=== Revision ===\n{REVISION}",
        f"   ### Revision   \n{REVISION}",
        f"### Revision\uff1a\n{REVISION}",
        f'"### Revision"\n{REVISION}',
        f"`### Revision`\n{REVISION}",
        f'### Revision\n"{REVISION}"',
        f"### Revision\n```\n{REVISION}\n```",
        f"### Revision\n```text\n{REVISION}\n```",
        f'### Revision\n"""\n{REVISION}\n"""',
        f"### Revision\n\u201c{REVISION}\u201d",
        f"### Revision\n{REVISION}\n\nLet me know if you want it shorter.",
        f"### Revision\n{REVISION}\n\n**Changes made:** I put the date first.",
        f"### Revision\n{REVISION}\n\n(Note: all numbers are kept.)",
        f"<think>I could write\n### Revision\nsomething else.</think>\n### Revision\n{REVISION}",
        f"### Revision\nA first try.\n\nThat lost the date. Again:\n\n### Revision\n{REVISION}",
        f"### Revision\r\n{REVISION}\r\n",
        f"### Revision\n\n### Text\n{REVISION}",
    ],
)
def test_the_revision_is_found_however_the_marker_is_dressed(text: str) -> None:
    assert find_revision(text, ORIGINAL) == REVISION
    outcome = judge_answer(answer(text), ORIGINAL, shortest_share=0.5)
    assert (outcome.completion, outcome.reason) == (REVISION, None)


@pytest.mark.parametrize(
    "text",
    [
        REVISION,
        "",
        "### Revision",
        "### Revision\n\n   ",
        f"Here is my revision of the text: {REVISION}",
        "The revision of the treaty took four years.",
        "Revised editions of Neil Armstrong's book appeared in 1969.",
        f"### Text\n{REVISION}",
        "<think>### Revision\nA thought that never ends",
    ],
)
def test_without_a_marker_or_a_text_behind_it_there_is_no_revision(text: str) -> None:
    assert find_revision(text, ORIGINAL) is None
    assert judge_answer(answer(text), ORIGINAL, shortest_share=0.5).reason == "no marker"


def test_marks_that_the_original_has_stay() -> None:
    code = "```python\nprint(20)\n```"
    assert find_revision(f"{MARKER}\n{code}", code) == code
    letter = "Your room is booked.\n\nLet me know if you come later."
    assert find_revision(f"{MARKER}\n{letter}", letter) == letter


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{MARKER}\nApollo 11 landed.", "much shorter"),
        (f"{MARKER}\n{REVISION.replace('1969', 'the sixties')}", "lost numbers or names"),
        (f"{MARKER}\n{REVISION.replace('Armstrong', 'the commander')}", "lost numbers or names"),
        (f"{MARKER}\nI'm sorry, but I can't help with rewriting texts about Apollo 11, Neil Armstrong.", "refused"),
        ("I cannot assist with that request.", "refused"),
        ("As an AI, I won\u2019t rewrite this text.", "refused"),
        (f"{MARKER}\n{ORIGINAL}", "unchanged"),
        (f"{MARKER}\n### Text\n{ORIGINAL.replace('. ', '.  ')}", "unchanged"),
    ],
)
def test_a_doubtful_revision_keeps_the_original(text: str, reason: str) -> None:
    outcome = judge_answer(answer(text), ORIGINAL, shortest_share=0.5)
    assert (outcome.completion, outcome.reason) == (ORIGINAL, reason)


def test_a_truncated_filtered_or_failed_answer_keeps_the_original() -> None:
    text = f"{MARKER}\n{REVISION}"
    outcomes = [
        judge_answer(Answer(text, "truncated", 1, 1, 0.1), ORIGINAL, shortest_share=0.5),
        judge_answer(Answer(text, "filtered", 1, 1, 0.1), ORIGINAL, shortest_share=0.5),
        judge_answer(Failure("status 500"), ORIGINAL, shortest_share=0.5),
    ]
    assert [outcome.reason for outcome in outcomes] == ["truncated", "refused", "error after retries"]
    assert outcomes[2].detail == "status 500"
    assert all(outcome.completion == ORIGINAL for outcome in outcomes)


def test_a_refusal_that_was_one_before_may_be_refined() -> None:
    original = "I'm sorry, I can't help with that. It would hurt somebody, and I don't want that."
    revision = "I'm sorry, but I can't help with that, because it would hurt somebody."
    assert judge_answer(answer(f"{MARKER}\n{revision}"), original, shortest_share=0.5).reason is None


_PARTS = (
    *(
        "<think>",
        "</think>",
        "### Text\n",
        "### Revision\n",
        "Revision: x",
        '"',
        "```",
        "```\n",
        "\r\n",
        "\u2028",
        "\n\n",
    ),
    *("Let me know", "I'm sorry, I can't help", "**Revised:**", "\u201cso\u201d", "[/x]", "Anna", "3,000", " "),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PARTS) | st.text(max_size=6), min_size=1, max_size=8).map("".join))
def test_refine_and_markers_an_echo_alters_no_text(text: str) -> None:
    """Whatever a text holds, a model that repeats it under the marker changes no byte of it."""
    if not text.strip():
        return
    marker = marker_for(text.strip())
    assert marker.split()[-1] not in text.upper()
    for echo in (f"{marker}\n{text.strip()}", f"<think>{text} {marker}</think>{marker}\n\n{text}\n"):
        outcome = judge_answer(Answer(echo, "finished", 1, 1, 0.1), text, marker=marker, shortest_share=0.5)
        assert outcome.completion == text, outcome
