"""System messages: at the head of the user's turn, or in a turn of their own; trained as they are served."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from response_tuning.chat_template import has_system_role
from response_tuning.conversation import FORMATS, Conversation, recognised_format
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example
from response_tuning.inference.responder import Responder
from response_tuning.runs.load import load_with_conversation
from response_tuning.serving.served_run import ServedRun
from response_tuning.support.configuration import changed
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName, Prefix
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from tests.test_chat_template import CONTEXTS, TEXT, rendered

ROW = Example.model_validate({"prompt": "Be brief.\n\nHi", "completion": "Hello", "system": "Be brief."})


def prompt_text(conversation: Conversation, example: Example, method: Any) -> str:
    encoded = conversation.encode(example, method)
    text = conversation.tokenizer.decode(encoded.input_ids[: encoded.prompt_length])
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("format_name", ["tulu", "chatml"])
@settings(deadline=None, max_examples=25)
@given(messages=CONTEXTS, last=TEXT, leads=st.booleans())
def test_messages_are_rendered_with_their_role_as_they_are_trained(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName, messages: list[dict[str, Any]], last: str, leads: bool
) -> None:
    conversation = Conversation(tokenizer, format_name, system="role")
    lead = [{"role": "system", "content": "Be kind."}] if leads else []
    context = [*lead, *messages, {"role": "user", "content": last}]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "chats.jsonl"
        file.write_text(json.dumps({"messages": [*context, {"role": "assistant", "content": "Yes."}]}) + "\n")
        rows = load_examples(str(file), systems=True)
    encoded = conversation.encode(rows[-1], "it")
    assert rendered(conversation, context) == encoded.input_ids[: encoded.prompt_length]


def test_a_row_is_asked_with_its_system_text_in_a_turn_or_at_the_head_of_one(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    role, head = (Conversation(tokenizer, "tulu", system=place) for place in ("role", "user"))
    assert prompt_text(role, ROW, "it") == "<s><|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\n"
    assert prompt_text(head, ROW, "it") == "<s><|user|>\nBe brief.\n\nHi\n<|assistant|>\n"
    for conversation in (role, head):
        ids = conversation.prompt_ids("Hi", system="Be brief.")
        assert ids == conversation.encode(ROW, "it").input_ids[: len(ids)]
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        assert ids == rendered(conversation, messages)


@pytest.mark.parametrize(
    ("format_name", "system", "prefix", "expected"),
    [
        ("tulu", "role", "none", "<s><|system|>\nBe brief.\n<|assistant|>\n"),
        ("tulu", "role", "empty_user", "<s><|system|>\nBe brief.\n<|user|>\n\n<|assistant|>\n"),
        ("tulu", "user", "none", "<s><|user|>\nBe brief.\n<|assistant|>\n"),
        ("question-answer", "user", "none", "<s>Question: Be brief.\n\nAnswer:"),
        ("chatml", "role", "none", "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n"),
    ],
)
def test_response_tuning_can_keep_the_system_text_without_the_instruction(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName, system: Any, prefix: Prefix, expected: str
) -> None:
    conversation = Conversation(tokenizer, format_name, rt_prefix=prefix, system=system, rt_keeps="system")
    assert prompt_text(conversation, ROW, "rt") == expected
    if prefix == "none":
        alone = rendered(conversation, [{"role": "system", "content": "Be brief."}])
        assert tokenizer.decode(alone) == expected
    bare = Example(completion="Hello")
    plain = Conversation(tokenizer, format_name, rt_prefix=prefix)
    assert conversation.encode(bare, "rt") == plain.encode(bare, "rt") == plain.encode(ROW, "rt")


def test_control_tokens_in_a_system_text_are_plain_text(tokenizer: PreTrainedTokenizerBase) -> None:
    conversation = Conversation(tokenizer, "chatml", system="role")
    ids = conversation.prompt_ids("a </s> b", system="Say <|im_end|> and <s>.")
    assert ids.count(tokenizer.get_vocab()["<|im_end|>"]) == 2
    assert ids.count(tokenizer.eos_token_id) == 0
    assert ids.count(tokenizer.bos_token_id) == 1
    assert "Say <|im_end|> and <s>." in tokenizer.decode(ids)


def test_formats_without_a_system_role_refuse_one(tokenizer: PreTrainedTokenizerBase) -> None:
    for name in FORMATS:
        if name in ("tulu", "chatml"):
            template = Conversation(tokenizer, name, system="role").chat_template
            assert has_system_role(template)
            assert recognised_format(template) == (name, "none")
            assert not has_system_role(Conversation(tokenizer, name).chat_template)
        else:
            with pytest.raises(UserError, match=r"has no system role here\. Choose --format tulu or chatml"):
                Conversation(tokenizer, name, system="role")


def test_a_run_is_asked_as_it_was_trained(tmp_path: Path, model_folder: Path) -> None:
    data = tmp_path / "rows.jsonl"
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    data.write_text(json.dumps({"messages": messages}) + "\n")
    config = TrainingConfig(
        model=str(model_folder),
        data=str(data),
        output=tmp_path / "run",
        method="rt",
        format="tulu",
        system="role",
        rt_keeps="system",
        dtype="float32",
        device="cpu",
        epochs=1,
        held_out="",
    )
    train(config)
    with pytest.raises(UserError, match="trained already, on other data"):
        data.write_text(json.dumps({"messages": [{**messages[0], "content": "Be kind."}, *messages[1:]]}) + "\n")
        train(config)
    with pytest.raises(UserError, match="has no system text to keep"):
        data.write_text(json.dumps({"messages": messages[1:]}) + "\n")
        train(changed(config, output=tmp_path / "other"))
    loaded, conversation = load_with_conversation(str(tmp_path / "run"), "auto", dtype="float32", device="cpu")
    assert conversation.system_role
    # A server asks it so as well: the leading system messages have a turn, later ones head the next user's.
    served = ServedRun("run", "run", Responder(loaded, conversation), Mock())
    later = [*messages[:3], {"role": "system", "content": "Now."}, {"role": "user", "content": "And?"}]
    for asked in (messages[:2], later, messages[1:2]):
        assert served.ids_of_messages(asked) == rendered(conversation, asked)
    assert "<|system|>" in conversation.tokenizer.decode(conversation.prompt_ids("Hi", system="Be brief."))
