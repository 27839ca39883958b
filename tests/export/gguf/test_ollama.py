"""Modelfiles: Go's template language, read here by a small interpreter, writes what the Jinja template writes."""

import copy
import json
import re

import pytest
from transformers import PreTrainedTokenizerBase

from response_tuning.conversation import FORMATS, Conversation
from response_tuning.export.gguf.ollama import go_template, write_modelfile
from response_tuning.support.errors import UserError
from response_tuning.support.options import FormatName

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is {{ this }}?"},
    {"role": "assistant", "content": 'A "brace".'},
    {"role": "user", "content": "And that?"},
]


def render_go(template: str, messages: list[dict[str, str]]) -> str:
    """The part of Go's text/template that is used: strings, two variables, .Content, one range and ifs in it."""
    actions = re.findall(r"\{\{ (.*?) \}\}(?=\{\{|$)", template)
    assert "".join(f"{{{{ {action} }}}}" for action in actions) == template
    start, end = actions.index("range .Messages"), len(actions) - actions[::-1].index("end") - 1
    assert actions[0] == '$system := ""'
    system, begun = "", False
    written = [json.loads(action) for action in actions[1:start] if action != "$begun := false"]
    for message in messages:
        taken: list[bool] = []
        for action in actions[start + 1 : end]:
            if condition := re.fullmatch(r'(else )?if eq \.Role "(\w+)"', action):
                taken = [*(taken[:-1] if condition[1] else taken), condition[2] == message["role"]]
            elif action == "if $begun":
                taken.append(begun)
            elif action == "else":
                taken[-1] = not taken[-1]
            elif action == "end":
                taken.pop()
            elif not all(taken):
                continue
            elif action == "$begun = true":
                begun = True
            elif action == '$system = ""':
                system = ""
            elif form := re.fullmatch(r"\$system = printf (\".*\") \$system \.Content", action):
                system = json.loads(form[1]) % (system, message["content"])
            else:
                known = {".Content": message["content"], "$system": system}
                written.append(known[action] if action in known else json.loads(action))
    return "".join([*written, *(json.loads(action) for action in actions[end + 1 :])])


@pytest.mark.parametrize("format_name", ["tulu", "chatml"])
def test_a_system_message_has_a_turn_of_its_own_where_it_was_trained_so(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName
) -> None:
    conversation = Conversation(tokenizer, format_name, system="role")
    for messages in (MESSAGES, MESSAGES[1:], [*MESSAGES[1:3], MESSAGES[0], MESSAGES[3]]):
        expected = tokenizer.apply_chat_template(
            messages, chat_template=conversation.chat_template, tokenize=False, add_generation_prompt=True
        )
        assert render_go(go_template(conversation, adds_bos=False), messages) == expected


@pytest.mark.parametrize("format_name", FORMATS)
def test_the_go_template_writes_what_the_chat_template_writes(
    tokenizer: PreTrainedTokenizerBase, format_name: FormatName
) -> None:
    conversation = Conversation(tokenizer, format_name)
    expected = tokenizer.apply_chat_template(
        MESSAGES, chat_template=conversation.chat_template, tokenize=False, add_generation_prompt=True
    )
    assert render_go(go_template(conversation, adds_bos=False), MESSAGES) == expected
    assert "<s>" + render_go(go_template(conversation, adds_bos=True), MESSAGES) == expected


def test_every_stop_token_is_a_stop_parameter(tokenizer: PreTrainedTokenizerBase) -> None:
    modelfile = write_modelfile(Conversation(tokenizer, "chatml"), gguf_name="my.gguf", adds_bos=True)
    assert modelfile.splitlines()[1] == "FROM ./my.gguf"
    assert re.findall(r"^PARAMETER stop (.*)$", modelfile, flags=re.MULTILINE) == ['"<|im_end|>"', '"</s>"']
    assert modelfile.count('"""') == 2


def test_a_template_whose_later_turns_differ_is_refused(tokenizer: PreTrainedTokenizerBase) -> None:
    irregular = copy.deepcopy(tokenizer)
    irregular.chat_template = (
        "{% for message in messages %}"
        "{% if message['role'] == 'user' %}{{ '[' if loop.first else '(' }}{{ message['content'] }}]"
        "{% else %}>{{ message['content'] }}</s>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}>{% endif %}"
    )
    with pytest.raises(UserError, match="later turns differently"):
        go_template(Conversation(irregular, "own"), adds_bos=False)
