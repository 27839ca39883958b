"""Responses are generated once, and never taken for those to other instructions or of another model."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from response_tuning.asking.ask import Failure
from response_tuning.evaluation.shared import answering
from response_tuning.evaluation.shared.answering import Answered, respond
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions
from response_tuning.inference.generate import Response
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.runs.local import answer_in_batches
from response_tuning.support.files import read_json_lines, write_json_lines
from tests.conftest import tiny_model
from tests.evaluation.judges import SERVED, whole_rows
from tests.inference.faulty_server import serve

INSTRUCTIONS = ["What is rain?", "Name a colour.", "Why do birds sing in the morning?", "Hello"]


def options(model: str, **others: object) -> JudgedOptions:
    values = {"max_new_tokens": 6, "device": "cpu", "dtype": "float32", "retries": 0} | others
    return JudgedOptions.model_validate({"model": model, **values})


def answer(config: JudgedOptions, instructions: list[str], folder: Path) -> Answered:
    answered = respond(config, instructions, folder=folder)
    assert answered is not None
    return answered


def test_kept_responses_are_read_without_loading_a_model(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = options(str(model_folder))
    first = answer(config, INSTRUCTIONS, tmp_path)
    assert first.backend == {
        "backend": "transformers",
        "dtype": "float32",
        "device": "cpu",
        "format": "tulu",
        "fingerprint": model_fingerprint(str(model_folder)),
    }
    monkeypatch.setattr(answering, "load_run", None)
    assert answer(config, INSTRUCTIONS, tmp_path) == first
    # Whatever a first try in smaller batches had answered would be lost otherwise.
    assert answer(config.model_copy(update={"batch_size": 2}), INSTRUCTIONS, tmp_path) == first


def test_an_interrupted_evaluation_answers_what_is_missing_alone(tmp_path: Path, model_folder: Path) -> None:
    config = options(str(model_folder), batch_size=1)
    first = answer(config, INSTRUCTIONS, tmp_path)
    kept = tmp_path / "generations.jsonl"
    begun, maker, *lines = kept.read_text(encoding="utf-8").splitlines(keepends=True)
    changed = lines[0].replace('"text": "', '"text": "kept: ')
    kept.write_text(begun + maker + changed + lines[1][:9], encoding="utf-8")
    again = answer(config, INSTRUCTIONS, tmp_path)
    # Alone in its batch, the longest prompt came first.
    longest = INSTRUCTIONS.index(max(INSTRUCTIONS, key=len))
    for number, (before, after) in enumerate(zip(first.responses, again.responses, strict=True)):
        assert isinstance(before, Response)
        assert isinstance(after, Response)
        assert after.text == (f"kept: {before.text}" if number == longest else before.text)
    assert len(read_json_lines(kept)) == 2 + len(INSTRUCTIONS)


def test_responses_are_not_taken_for_those_to_other_instructions_in_their_place(
    tmp_path: Path, model_folder: Path
) -> None:
    config = options(str(model_folder))
    first = answer(config, INSTRUCTIONS, tmp_path)
    reversed_ = answer(config, INSTRUCTIONS[::-1], tmp_path)
    assert reversed_.responses == first.responses[::-1]
    assert first.responses != first.responses[::-1]


def test_whichever_prompts_are_asked_those_that_were_answered_are_not_answered_again(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = options(str(model_folder), batch_size=1)
    whole = answer(config, INSTRUCTIONS, tmp_path / "whole").responses
    asked = counted(monkeypatch)
    assert answer(config, INSTRUCTIONS[1:2], tmp_path).responses == whole[1:2]
    assert answer(config, [INSTRUCTIONS[3], *INSTRUCTIONS[:2]], tmp_path).responses == [whole[3], *whole[:2]]
    # Killed when one more is answered, in the middle of a line.
    kept = tmp_path / "generations.jsonl"
    kept.write_text(kept.read_text(encoding="utf-8") + '{"key": "0123', encoding="utf-8")
    assert answer(config, [*INSTRUCTIONS, INSTRUCTIONS[0]], tmp_path).responses == [*whole, whole[0]]
    assert asked == [[INSTRUCTIONS[1]], [INSTRUCTIONS[3], INSTRUCTIONS[0]], [INSTRUCTIONS[2]]]
    # What other settings answered between stays as well.
    answer(options(str(model_folder), max_new_tokens=2), INSTRUCTIONS, tmp_path)
    assert answer(config, INSTRUCTIONS[:3], tmp_path).responses == whole[:3]
    assert asked[3:] == [INSTRUCTIONS]


def test_kept_responses_are_valid_under_the_limits_that_they_keep(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every response is cut off; one is marked as ended after three tokens."""
    config = options(str(model_folder))
    whole = answer(config, INSTRUCTIONS, tmp_path)
    kept = tmp_path / "generations.jsonl"
    begun, maker, first, *rest = read_json_lines(kept)
    ended = {**first, "stopped": True, "token_count": 3}
    # As an earlier version wrote them: the limit among the settings, and in the rows' keys by that.
    maker["settings"]["max_new_tokens"] = 6
    rows = [{**row, "key": f"earlier:{row['key'].partition(':')[2]}"} for row in (ended, *rest)]
    for row in rows:
        del row["max_new_tokens"]
    write_json_lines(kept, [begun, {**maker, "key": "earlier"}, *rows])
    asked = counted(monkeypatch)
    assert [*map(str, answer(config, INSTRUCTIONS, tmp_path).texts)] == whole.texts
    assert asked == []
    answer(options(str(model_folder), max_new_tokens=8), INSTRUCTIONS, tmp_path)
    assert [len(instructions) for instructions in asked] == [len(INSTRUCTIONS) - 1]
    answer(options(str(model_folder), max_new_tokens=2), INSTRUCTIONS, tmp_path)
    assert [len(instructions) for instructions in asked] == [len(INSTRUCTIONS) - 1, len(INSTRUCTIONS)]
    assert answer(config, INSTRUCTIONS, tmp_path).texts == whole.texts
    assert len(asked) == 2


def counted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The instructions of each call that generates."""
    asked: list[list[str]] = []

    def counting(*arguments: Any, **options: Any) -> Iterator[dict[int, Response]]:
        asked.append(list(arguments[1]))
        return answer_in_batches(*arguments, **options)

    monkeypatch.setattr(answering, "answer_in_batches", counting)
    return asked


def test_another_model_under_the_same_name_finds_no_responses_and_the_same_one_under_another_name_does(
    tmp_path: Path, model_folder: Path, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, moved = tmp_path / "model", tmp_path / "moved"
    shutil.copytree(model_folder, folder)
    first = answer(options(str(folder)), INSTRUCTIONS, tmp_path)
    folder.rename(moved)
    tiny_model(tokenizer, seed=1).save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    other = answer(options(str(folder)), INSTRUCTIONS, tmp_path)
    assert other.responses != first.responses
    assert other.backend["fingerprint"] != first.backend["fingerprint"]
    asked = counted(monkeypatch)
    assert answer(options(str(moved)), INSTRUCTIONS, tmp_path) == first
    assert asked == []


def test_another_limit_generates_anew(tmp_path: Path, model_folder: Path) -> None:
    answer(options(str(model_folder)), INSTRUCTIONS, tmp_path)
    shorter = answer(options(str(model_folder), max_new_tokens=2), INSTRUCTIONS, tmp_path)
    assert all(isinstance(response, Response) and response.token_count <= 2 for response in shorter.responses)


def test_a_server_is_asked_once_and_what_failed_again_only_on_request(tmp_path: Path) -> None:
    is_well = False

    def reply(question: str, _: int) -> str:
        if question == "Hello" and not is_well:
            return "status 500"
        return "(long) It falls" if question == "What is rain?" else f"About: {question}"

    with serve(reply) as server:
        config = options(SERVED, base_url=server.url)
        first = answer(config, INSTRUCTIONS, tmp_path)
        assert first.responses[0] == Response("(long) It falls", 5, stopped=False)
        assert first.responses[1] == Response("About: Name a colour.", 5, stopped=True)
        assert isinstance(first.responses[3], Failure)
        assert first.backend == {"backend": f"inspect_ai {SERVED}"}
        is_well = True
        before = len(server.asked)
        assert answer(config, INSTRUCTIONS, tmp_path) == first
        assert len(server.asked) == before
        mended = answer(config.model_copy(update={"retry_errors": True}), INSTRUCTIONS, tmp_path)
        assert mended.responses == [*first.responses[:3], Response("About: Hello", 5, stopped=True)]
        assert server.asked[before:] == ["Hello"]
        # Neither another order nor another selection is asked again, and what stands twice is asked once.
        others = [INSTRUCTIONS[2], "Who?", INSTRUCTIONS[0], "Who?"]
        assert answer(config, others, tmp_path).responses[::2] == [first.responses[2], first.responses[0]]
        assert server.asked[before + 1 :] == ["Who?"]
        assert len(whole_rows(tmp_path / "answers.jsonl")) == 6


def test_a_dry_run_asks_no_server_but_reads_what_it_answered(tmp_path: Path) -> None:
    with serve(lambda question, _: f"About: {question}") as server:
        config = options(SERVED, base_url=server.url)
        dry = config.model_copy(update={"dry_run": True})
        assert respond(dry, INSTRUCTIONS, folder=tmp_path) is None
        assert server.asked == []
        first = answer(config, INSTRUCTIONS, tmp_path)
        assert answer(dry, INSTRUCTIONS, tmp_path) == first
