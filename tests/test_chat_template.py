"""What a model is asked after is what it was trained after: for every tokenizer family, message and day."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from response_tuning.conversation import FORMATS, Conversation, recognised_format
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.example import Example
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName, Prefix
from tests.conftest import train_tokenizer
from tests.tokenizer_families import FAMILIES, make_tokenizer


def rendered(conversation: Conversation, messages: list[dict[str, Any]]) -> list[int]:
    """The prompt that a server makes of messages."""
    ids: Any = conversation.tokenizer.apply_chat_template(
        messages, chat_template=conversation.chat_template, add_generation_prompt=True, return_dict=False
    )
    return list(ids)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("format_name", FORMATS)
def test_the_prefix_of_response_tuning_is_how_a_whole_prompt_ends(family: str, format_name: FormatName) -> None:
    tokenizer = make_tokenizer(family)
    conversation = Conversation(tokenizer, format_name)
    encoded = conversation.encode(Example(completion="Air."), "rt")
    bos, *header = encoded.input_ids[: encoded.prompt_length]
    assert bos == tokenizer.bos_token_id
    for instruction in ("Why is the sky blue?", "Name a river.", "2 + 2", "Say: \u00fc\u4e2d"):
        whole = rendered(conversation, [{"role": "user", "content": instruction}])
        assert whole == conversation.prompt_ids(instruction)
        assert whole[-len(header) :] == header
    if tokenizer.unk_token_id in header:  # a vocabulary without one of the format's characters
        return
    squeezed = conversation.prefix_text.replace(" ", "")
    assert FORMATS[format_name].assistant_header.strip().replace(" ", "") in squeezed


TEXT = st.text(alphabet=st.sampled_from(list("ab \n\u00fc\u4e2d{}'\"")), max_size=8).map(lambda text: f"{text}.")
CONTENT = st.one_of(TEXT, st.lists(TEXT.map(lambda text: {"type": "text", "text": text}), min_size=1, max_size=3))


def said(role: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"role": st.just(role), "content": CONTENT})


TURNS = st.one_of(said("user"), said("assistant"), st.tuples(said("system"), said("user")))
CONTEXTS = st.lists(TURNS, max_size=4).map(
    lambda turns: [message for turn in turns for message in (turn if isinstance(turn, tuple) else (turn,))]
)


@pytest.mark.parametrize("format_name", ["tulu", "question-answer"])
@settings(deadline=None, max_examples=80)
@given(messages=CONTEXTS, last=TEXT)
def test_messages_are_rendered_as_the_data_reader_trains_them(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName, messages: list[dict[str, Any]], last: str
) -> None:
    conversation = Conversation(tokenizer, format_name)
    context = [*messages, {"role": "user", "content": last}]
    with TemporaryDirectory() as folder:
        file = Path(folder) / "chats.jsonl"
        file.write_text(json.dumps({"messages": [*context, {"role": "assistant", "content": "Yes."}]}) + "\n")
        rows = load_examples(str(file))
    encoded = conversation.encode(rows[-1], "it")
    assert rendered(conversation, context) == encoded.input_ids[: encoded.prompt_length]


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("system", "<s><|user|>\nsystem\n<|assistant|>\n"),
        ("user system", "<s><|user|>\nuser\n\nsystem\n<|assistant|>\n"),
        ("system assistant user", "<s><|user|>\nsystem\n<|assistant|>\nassistant</s>\n<|user|>\nuser\n<|assistant|>\n"),
        ("developer user user", "<s><|user|>\ndeveloper\n\nuser\n\nuser\n<|assistant|>\n"),
    ],
)
def test_a_system_message_stands_before_the_next_user_turn_or_for_it(
    tokenizer: PreTrainedTokenizerBase, roles: str, expected: str
) -> None:
    conversation = Conversation(tokenizer, "tulu")
    messages = [{"role": role, "content": role} for role in roles.split()]
    assert tokenizer.decode(rendered(conversation, messages)) == expected


@pytest.mark.parametrize(
    ("messages", "tools"),
    [
        ([{"role": "tool", "content": "42"}], None),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], None),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}], None),
        ([{"role": "user", "content": "a"}], [{"type": "function", "function": {"name": "f"}}]),
    ],
)
def test_what_the_reader_refuses_the_template_refuses(
    tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, Any]], tools: Any
) -> None:
    template = Conversation(tokenizer, "tulu").chat_template
    with pytest.raises(jinja2.TemplateError, match="This chat format"):
        tokenizer.apply_chat_template(messages, chat_template=template, tools=tools, tokenize=False)


@pytest.mark.parametrize("prefix", ["none", "empty_user"])
@pytest.mark.parametrize("format_name", FORMATS)
def test_a_saved_template_says_in_which_format_it_was_trained(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName, prefix: Prefix
) -> None:
    template = Conversation(tokenizer, format_name, rt_prefix=prefix).chat_template
    assert recognised_format(template) == (format_name, prefix)


def test_templates_of_earlier_versions_are_recognised_and_foreign_ones_are_not() -> None:
    old = '{{ "<s>" }}{% if message[\'role\'] == \'user\' %}{{ "Question: " + content + "\\n\\n" }}{% endif %}'
    error = "{{ raise_exception('This chat format knows the roles user and assistant alone.') }}"
    assert recognised_format(old + error) == ("question-answer", "none")
    assert recognised_format(old) is None
    assert recognised_format(None) is None


DATED = (
    "{{ bos_token }}{%- if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% else %}"
    "{% set day = 'never' %}{% endif %}Today: {{ day }}\n"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def test_a_template_with_a_clock_is_saved_with_a_fixed_date(examples: list[Example]) -> None:
    tokenizer = train_tokenizer(examples, special_tokens=["<s>", "</s>", "<|im_start|>", "<|im_end|>"])
    tokenizer.chat_template = DATED
    conversation = Conversation(tokenizer, "own")
    text = tokenizer.decode(conversation.prompt_ids("Hi"))
    assert "Today: 26 Jul 2024" in text
    assert rendered(conversation, [{"role": "user", "content": "Hi"}]) == conversation.prompt_ids("Hi")
    tokenizer.chat_template = conversation.chat_template
    assert recognised_format(tokenizer.chat_template) == ("own", "none")
    assert Conversation(tokenizer, "own").prompt_ids("Hi") == conversation.prompt_ids("Hi")
    tokenizer.chat_template = DATED.replace("'%d %b %Y'", "form")
    with pytest.raises(UserError, match="today's date"):
        Conversation(tokenizer, "own")
