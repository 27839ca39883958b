"""Extracting responses from texts, against a real server: one question for each text, and only passages that exist."""

import re
from pathlib import Path

import pytest

from response_tuning.cli.main import main
from response_tuning.data.recipes.recipe import Made, run_recipe
from response_tuning.example import read_examples
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines
from response_tuning.synthesis.extract.extract import Extract, ExtractConfig, proportion_copied
from tests.inference.faulty_server import FaultyServer, serve

PASSAGE = "Rye bread keeps for a week because its crumb holds \u201cmore water\u201d than that of wheat."
ARTICLE = f"By our reporter in town {{}}.\n\n{PASSAGE}\n\nSubscribe to read more about the bakers of the valley."
ANSWER = "Rye bread stays fresh for about a week: its crumb holds more water."
TELEGRAM = "Too short."


@pytest.fixture
def news(tmp_path: Path) -> Path:
    folder = tmp_path / "news"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.txt").write_text(ARTICLE.format(number), encoding="utf-8")
    (folder / "5.txt").write_text(TELEGRAM, encoding="utf-8")
    return folder


def config(news: Path, server: FaultyServer, **others: object) -> ExtractConfig:
    values = {"retries": 0, "concurrency": 1, "least_words": 10, "model": "openai-api/faulty/model"} | others
    return ExtractConfig.model_validate(
        {"source": str(news), "output": news.parent / "responses.jsonl", "base_url": server.url, **values}
    )


def extract(options: ExtractConfig) -> Made:
    made = run_recipe(Extract(), options)
    assert made is not None
    return made


def answer(question: str, passage: str, response: str = ANSWER) -> str:
    headings = re.findall(r'the heading "(### [^"]+)"', question)
    return f"{headings[0]}\n{passage}\n\n{headings[1]}\n{response}"


def reply(question: str, _: int) -> str:
    number = re.findall(r"in town (\d)", question)[0]
    copied = PASSAGE.replace("\u201c", '"').replace("\u201d", '"')
    return {
        "0": answer(question, copied),
        "1": "NO PASSAGE",
        "2": answer(question, "Rye bread was invented by the Romans, who sold it to sailors and kings."),
        "3": "I'm sorry, but I can't help with that.",
        "4": f"Here it is. {ANSWER}",
    }[number]


def test_each_text_gives_a_response_or_a_reason_and_none_is_asked_about_twice(news: Path) -> None:
    with serve(reply) as server:
        made = extract(config(news, server))
        assert len(server.asked) == 5
        assert extract(config(news, server)).states == made.states
        assert len(server.asked) == 5
    assert made.states == {
        "made": 1,
        "left out: no passage": 1,
        "left out: passage is not in the text": 1,
        "left out: refused": 1,
        "left out: no marker": 1,
        "left out: too short, or there twice": 1,
    }
    [example] = read_examples(news.parent / "responses.jsonl")
    assert (example.completion, example.prompt) == (ANSWER, None)
    assert example.model_extra is not None
    assert example.model_extra["source_passage"].startswith("Rye bread keeps")
    rows = read_json_lines(news.parent / "responses.audit.jsonl")
    assert sum("Romans" in str(row.get("passage")) for row in rows) == 1


def test_a_dry_run_asks_nothing_and_writes_nothing(news: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = news.parent / "responses.jsonl"
    with serve(reply) as server:
        words = ["data", "extract", str(news), "--output", str(output), "--model", "openai-api/faulty/model"]
        assert main([*words, "--base-url", server.url, "--least-words", "10", "--dry-run"]) == 0
        assert server.asked == []
    printed = capsys.readouterr()
    assert "5 " in printed.out + printed.err
    assert not output.exists()


def test_no_more_than_the_first_words_are_shown_and_equal_texts_are_asked_about_once(news: Path) -> None:
    with serve(lambda question, _: answer(question, question.rpartition("### Text\n")[2])) as server:
        made = extract(config(news, server, most_words=4, least_words=4))
        assert len(server.asked) == 1
        assert server.asked[0].endswith("### Text\nBy our reporter in")
    assert made.states == {"left out: too short, or there twice": 5, "made": 1}


def test_texts_without_a_response_are_an_error_of_the_user(news: Path) -> None:
    with serve(lambda *_: "NO PASSAGE") as server:
        with pytest.raises(UserError, match=r"made no response of any text. .*responses.audit.jsonl holds"):
            extract(config(news, server))
        with pytest.raises(UserError, match=r"no text has 100 words. Lower --least-words"):
            extract(config(news, server, least_words=100))


def test_the_proportion_copied_counts_words_in_order() -> None:
    text = "one two three four five six"
    assert proportion_copied("Two three\nfour", text) == 1.0
    assert proportion_copied("four three two one", text) == 0.25
    assert proportion_copied("seven", text) == proportion_copied(" ", text) == 0.0
