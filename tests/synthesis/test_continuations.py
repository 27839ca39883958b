"""Non-instructional pairs: a teacher's continuation, the text's own as the control, and the screen."""

from pathlib import Path

import pytest

from response_tuning.data.quality.instruction_like import instruction_like
from response_tuning.data.recipes.recipe import Made, run_recipe
from response_tuning.example import read_examples
from response_tuning.support.errors import UserError
from response_tuning.synthesis.continuations import NonInstructional, NonInstructionalConfig
from tests.inference.faulty_server import FaultyServer, serve

TEXT = "The mill stood by the river. It had not turned for years. Nobody came there any more. Then the flood came."
FIRST, SECOND = TEXT[:57], TEXT[58:]
ASKS = f"Farming is old. Many kinds of soil exist. Explain why clay holds water. {'Clay has small grains. ' * 2}"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    (folder / "mill.txt").write_text(TEXT, encoding="utf-8")
    (folder / "note.md").write_text("Too short.", encoding="utf-8")
    return folder


def config(texts: Path, **others: object) -> NonInstructionalConfig:
    values = {"source": str(texts), "output": texts.parent / "halves.jsonl", "least_words": 10, "retries": 0}
    return NonInstructionalConfig.model_validate(values | others)


def served(texts: Path, server: FaultyServer, **others: object) -> NonInstructionalConfig:
    return config(texts, model="openai-api/faulty/model", base_url=server.url, **others)


def made(options: NonInstructionalConfig) -> Made:
    result = run_recipe(NonInstructional(), options)
    assert result is not None
    return result


def test_the_teacher_continues_the_first_half_and_is_shown_nothing_of_the_second(texts: Path) -> None:
    with serve(lambda *_: " The wheel is rotten now. ") as server:
        result = made(served(texts, server))
        assert made(served(texts, server)).states == result.states == {"made": 1, "left out, too short": 1}
        assert server.asked == [FIRST]
    assert [message["role"] for message in server.bodies[0]["messages"]] == ["system", "user"]
    assert "about 10 words" in server.bodies[0]["messages"][0]["content"]
    assert SECOND not in str(server.bodies)
    (example,) = read_examples(texts.parent / "halves.jsonl")
    assert (example.prompt, example.completion) == (FIRST, "The wheel is rotten now.")
    assert example.model_extra == {"source": "mill.txt", "source_completion": SECOND}


def test_the_control_is_the_texts_own_second_half_and_asks_nobody(texts: Path) -> None:
    result = made(config(texts, continuation="own", model="openai-api/none/model"))
    assert result.states == {"made": 1, "left out, too short": 1}
    (example,) = read_examples(texts.parent / "halves.jsonl")
    assert (example.prompt, example.completion) == (FIRST, SECOND)
    with pytest.raises(UserError, match="no text has 400 words"):
        made(config(texts, continuation="own", least_words=400))


def test_a_dry_run_asks_and_writes_nothing(texts: Path, caplog: pytest.LogCaptureFixture) -> None:
    with serve(lambda *_: "x") as server:
        assert run_recipe(NonInstructional(), served(texts, server, dry_run=True)) is None
        assert server.asked == []
    assert "continuations: 1 questions" in caplog.text
    assert not (texts.parent / "halves.jsonl").exists()


def test_what_the_teacher_does_not_continue_is_left_out_and_counted(texts: Path) -> None:
    for number, answer in enumerate(["(long) on", "I'm sorry, but I can't help with that.", " ", "status 400"]):
        (texts / f"{number}.txt").write_text(f"{number} {TEXT}")
        (texts / f"{number}.txt.answer").write_text(answer)
    answers = {str(number): (texts / f"{number}.txt.answer").read_text() for number in range(4)}
    for path in texts.glob("*.answer"):
        path.unlink()
    with serve(lambda question, _: answers.get(question[0], "It was gone.")) as server:
        assert made(served(texts, server, concurrency=1)).states == {
            "made": 1,
            "left out, continuation: truncated": 1,
            "left out, continuation: refused": 1,
            "left out, continuation: empty": 1,
            "left out, continuation: refused by the server": 1,
            "left out, too short": 1,
        }


@pytest.mark.parametrize("screener", [None, "openai-api/faulty/screener"])
def test_rows_that_look_like_instructions_are_counted_or_dropped(texts: Path, screener: str | None) -> None:
    (texts / "soil.txt").write_text(ASKS)

    def reply(question: str, _: int) -> str:
        if "VERDICT" in question:
            code = question.rstrip()[-8:-4]
            return f"It asks.\nVERDICT {code}: {'YES' if 'clay' in question else 'NO'}"
        return "The rest of it."

    with serve(reply) as server:
        options = served(texts, server, screener=screener, output=texts.parent / "a.jsonl")
        assert made(options).states == {"made": 1, "made, instruction-like": 1, "left out, too short": 1}
        marks = [(row.model_extra or {}).get("instruction_like") for row in read_examples(texts.parent / "a.jsonl")]
        assert marks == [None, "the prompt ends in a request" if screener is None else f"by {screener}"]
        asked = len(server.asked)
        dropped = made(options.model_copy(update={"instruction_like": "drop"}))
        assert dropped.states == {"made": 1, "left out, instruction-like": 1, "left out, too short": 1}
        assert len(server.asked) == asked == (2 if screener is None else 4)


@pytest.mark.parametrize(
    ("prompt", "completion", "is_like"),
    [
        ("Soil is a mix. Write a short poem about it.", "Brown and deep", True),
        ("Which river is the longest?", "The Nile.", True),
        ("Translate into German: the mill", "die M\u00fchle", True),
        ("Q: Who built it?\nA: Nobody knows.", "Q: When?\nA: Long ago.", True),
        ("The mill stood by the river.", "Sure! Here is the rest of the story.", True),
        ("### Instruction:\nAdd 2 and 2.", "### Response:\n4", True),
        ("She wanted to write a poem about it.", "But nobody read it.", False),
        ("The mill stood by the river.", "Nobody came there any more.", False),
        ("Writers of the time used it often.", "Some explain it by fashion.", False),
    ],
)
def test_patterns_of_instructions(prompt: str, completion: str, is_like: bool) -> None:
    assert (instruction_like(prompt, completion) is not None) == is_like
