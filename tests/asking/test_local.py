"""A model in this process, asked through Inspect AI: the same words as ours, and honest endings."""

import shutil
from pathlib import Path

import pytest

from response_tuning.asking.ask import Answer, Failure, Question, ask_all, open_model
from response_tuning.asking.ask_options import AskOptions
from response_tuning.conversation import Conversation
from response_tuning.inference.generate import generate_responses
from response_tuning.inference.responder import Responder
from response_tuning.runs.load import load_with_conversation


def ask(spec: str, questions: list[Question], *, concurrency: int) -> dict[str, Answer]:
    options = AskOptions(model=spec, concurrency=concurrency, retries=0)
    outcomes: dict[str, Answer] = {}

    def record(question: Question, outcome: Answer | Failure) -> None:
        assert isinstance(outcome, Answer), outcome
        outcomes[question.key] = outcome

    ask_all(open_model(options), questions, options, record)
    return outcomes


def question(text: str, *, max_tokens: int = 12, system: str | None = None) -> Question:
    return Question(key=text, text=text, system=system, max_tokens=max_tokens, expected_characters=10)


@pytest.mark.parametrize("concurrency", [1, 2, 8])
def test_answers_are_those_of_plain_generation_however_they_are_batched(model_folder: Path, concurrency: int) -> None:
    texts = ["What is rain?", "Name a colour.", "Why do birds sing in the morning?", "Count to ten.", "Hello"]
    answers = ask(str(model_folder), [question(text) for text in texts], concurrency=concurrency)
    loaded, conversation = load_with_conversation(str(model_folder), "auto", dtype="bfloat16", device="cpu")
    (responses,) = generate_responses(Responder(loaded, conversation), texts, max_new_tokens=12, batch_size=8)
    assert [answers[text].text for text in texts] == [responses[index].text for index in range(len(texts))]


def test_an_answer_that_ran_into_its_own_limit_is_truncated(model_folder: Path) -> None:
    questions = [question("What is rain?", max_tokens=3), question("Name a colour.", max_tokens=9)]
    answers = ask(str(model_folder), questions, concurrency=2)
    assert [answers[asked.key].output_tokens for asked in questions] == [3, 9]
    assert {answer.ending for answer in answers.values()} == {"truncated"}


def test_a_system_prompt_stands_before_the_question(model_folder: Path) -> None:
    with_system = ask(str(model_folder), [question("What is rain?", system="Be kind.")], concurrency=1)
    joined = ask(str(model_folder), [question("Be kind.\n\nWhat is rain?")], concurrency=1)
    first, second = with_system["What is rain?"], joined["Be kind.\n\nWhat is rain?"]
    assert (first.text, first.input_tokens) == (second.text, second.input_tokens)


def test_a_model_with_its_own_template_is_asked_in_it(model_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "assistant"
    shutil.copytree(model_folder, folder)
    loaded, _ = load_with_conversation(str(folder), "chatml", dtype="bfloat16", device="cpu")
    conversation = Conversation(loaded.tokenizer, "chatml")
    loaded.tokenizer.chat_template = conversation.chat_template
    loaded.tokenizer.save_pretrained(str(folder))
    answers = ask(str(folder), [question("What is rain?")], concurrency=1)
    assert answers["What is rain?"].input_tokens == len(conversation.prompt_ids("What is rain?"))
