"""The ways of papers to refine: review first, and remove a beginning that rephrases the prompt."""

from pathlib import Path

import pytest

from response_tuning.example import Example, read_examples, write_examples
from response_tuning.support.errors import UserError
from response_tuning.synthesis.refine import RefineConfig, Refined, refine
from response_tuning.synthesis.revision import UNCHANGED, find_revision
from tests.inference.faulty_server import FaultyServer, serve

PROMPT = "How long does rye bread from Zug keep?"
RESPONSE = "You ask how long rye bread from Zug keeps. It keeps for 7 days, if it is dry and in a cloth."


def refined(tmp_path: Path, server: FaultyServer, rows: list[Example], **others: object) -> Refined:
    write_examples(tmp_path / "in.jsonl", rows)
    options = {"source": str(tmp_path / "in.jsonl"), "output": tmp_path / "out.jsonl", "retries": 0, "concurrency": 1}
    return refine(
        RefineConfig.model_validate({**options, "model": "openai-api/faulty/model", "base_url": server.url, **others})
    )


def marker(question: str) -> str:
    return question.split('the heading "')[1].split('"')[0]


def test_an_kim_shows_the_prompt_and_uses_what_follows_the_review(tmp_path: Path) -> None:
    def reply(question: str, _: int) -> str:
        if "second" in question:
            return "It is well written. There is nothing to revise."
        return f"It is short.\nThe Revision should be friendlier.\n{marker(question)}\nA week."

    rows = [Example(prompt=PROMPT, completion=RESPONSE), Example(completion="The second row, without a prompt.")]
    with serve(reply) as server:
        result = refined(tmp_path, server, rows, preset="an-kim")
        assert f"### Request\n{PROMPT}\n" in server.asked[0]
        assert "### Request" not in server.asked[1]
    # Shorter than half of it, and without its numbers and names.
    assert [row.completion for row in read_examples(tmp_path / "out.jsonl")] == ["A week.", rows[1].completion]
    assert result.states == {"refined": 1, "no marker": 1}


def test_a_share_that_is_given_comes_before_the_preset(tmp_path: Path) -> None:
    with serve(lambda question, _: f"Good.\n{marker(question)}\nA week.") as server:
        rows = [Example(prompt=PROMPT, completion=RESPONSE)]
        assert refined(tmp_path, server, rows, preset="an-kim", shortest_share=0.5).states == {"much shorter": 1}


def test_no_rephrasing_changes_only_responses_that_rephrase(tmp_path: Path) -> None:
    direct = "It keeps for 7 days, if it is dry and in a cloth. Bakers of the valley say so."
    lossy = "Rye bread from Zug: it keeps for 7 days, as Anna of the bakery in Chur says, if it is dry."

    def reply(question: str, _: int) -> str:
        if direct in question:
            return f"{marker(question)}\n{UNCHANGED.capitalize() if 'Anna' in question else UNCHANGED}."
        text = "It keeps for 7 days, as they say in the bakery, if it is dry." if lossy in question else RESPONSE[43:]
        return f"{marker(question)}\n{text}"

    rows = [Example(prompt=PROMPT, completion=each) for each in (RESPONSE, direct, lossy)]
    with serve(reply) as server:
        result = refined(tmp_path, server, rows, preset="no-rephrasing")
    first, second, third = read_examples(tmp_path / "out.jsonl")
    # Zug is in the prompt, and Anna and Chur are not.
    assert first.completion == "It keeps for 7 days, if it is dry and in a cloth."
    assert (second.completion, third.completion) == (direct, lossy)
    assert result.states == {"refined": 1, "unchanged": 1, "lost numbers or names": 1}


def test_no_rephrasing_needs_prompts(tmp_path: Path) -> None:
    with serve(lambda *_: "") as server, pytest.raises(UserError, match="no-rephrasing"):
        refined(tmp_path, server, [Example(completion="It keeps.")], preset="no-rephrasing")


def test_the_last_marker_counts_behind_a_review() -> None:
    answer = "### Revision 0AF1 needs no numbers.\n### Revision 0AF1\nThe text."
    assert find_revision(answer, "Text.", marker="### Revision 0AF1") == "The text."
