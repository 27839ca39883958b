"""A Modelfile: what Ollama needs beside a GGUF file to prompt it as it was trained.

Ollama does not read the Jinja chat template in the file; it needs one in Go's template language. That one is derived by
rendering the Jinja template and splitting the result, so the format has one source.
"""

import json
from dataclasses import dataclass

from response_tuning.conversation import Conversation
from response_tuning.support.errors import UserError

__all__ = ["go_template", "write_modelfile"]

_QUESTIONS = ("q0uestionA", "q1uestionB")
_ANSWER = "a0nswerA"
"""Words that no template contains, at which a rendered conversation is split."""
_SYSTEM = r'"%s%s\n\n"'
"""A system message, SYSTEM in a Modelfile, precedes the next question, as in training."""


@dataclass(frozen=True)
class _Parts:
    """The text around turns."""

    beginning: str
    before_question: str
    after_question: str
    header: str
    """The text that a response is generated after."""
    before_answer: str
    """The header and, for a given answer, the text between the two."""
    after_answer: str
    around_system: tuple[str, str] | None
    """The text around a system message with a turn of its own; None where it precedes the next question."""


def write_modelfile(conversation: Conversation, *, gguf_name: str, adds_bos: bool) -> str:
    """The text of a Modelfile for the GGUF file ``gguf_name`` beside it.

    Raises:
        UserError: the chat template renders a second question differently from the first.
    """
    stops = [conversation.tokenizer.convert_ids_to_tokens(token) for token in conversation.stop_token_ids]
    return "\n".join(
        [
            "# ollama create my-model --file Modelfile && ollama run my-model",
            f"FROM ./{gguf_name}",
            f'TEMPLATE """{go_template(conversation, adds_bos=adds_bos)}"""',
            *(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops),
            "# Greedy and without penalties, as the run was evaluated; Ollama's own defaults are neither.",
            "PARAMETER temperature 0",
            "PARAMETER repeat_penalty 1",
            "",
        ]
    )


def go_template(conversation: Conversation, *, adds_bos: bool) -> str:
    """The chat template in Go's template language, over Ollama's ``.Messages``.

    ``adds_bos``: the server adds the beginning-of-sequence token to a prompt, so the template omits it.

    Raises:
        UserError: the chat template renders a second question differently from the first.
    """
    parts = _take_apart(conversation)
    beginning = parts.beginning
    if adds_bos:
        beginning = beginning.removeprefix(str(conversation.tokenizer.bos_token))
    start, of_system = _of_system(parts)
    return (
        f'{{{{ $system := "" }}}}{start}{_text(beginning)}'
        "{{ range .Messages }}"
        f'{{{{ if eq .Role "system" }}}}{of_system}'
        f'{{{{ else if eq .Role "user" }}}}{_begun(parts)}'
        f"{_text(parts.before_question)}{{{{ $system }}}}{{{{ .Content }}}}"
        f'{_text(parts.after_question)}{{{{ $system = "" }}}}'
        f'{{{{ else if eq .Role "assistant" }}}}{_begun(parts)}'
        f"{_text(parts.before_answer)}{{{{ .Content }}}}{_text(parts.after_answer)}{{{{ end }}}}"
        "{{ end }}"
        f"{_text(parts.header)}"
    )


def _of_system(parts: _Parts) -> tuple[str, str]:
    """What a template with system messages begins with, and what it does with one.

    In a format with a system role, one before the first turn has a turn of its own.
    """
    waits = f"{{{{ $system = printf {_SYSTEM} $system .Content }}}}"
    if parts.around_system is None:
        return "", waits
    before, after = parts.around_system
    own = f"{_text(before)}{{{{ .Content }}}}{_text(after)}"
    return "{{ $begun := false }}", f"{{{{ if $begun }}}}{waits}{{{{ else }}}}{own}{{{{ end }}}}"


def _begun(parts: _Parts) -> str:
    return "" if parts.around_system is None else "{{ $begun = true }}"


def _text(text: str) -> str:
    """Text as a quoted string in an action, which preserves its white space and braces."""
    return f"{{{{ {json.dumps(text, ensure_ascii=False)} }}}}" if text else ""


def _take_apart(conversation: Conversation) -> _Parts:
    first, second = ({"role": "user", "content": question} for question in _QUESTIONS)
    answer = {"role": "assistant", "content": _ANSWER}
    asked = _render(conversation, [first])
    prompt = _render(conversation, [first], add_generation_prompt=True)
    answered = _render(conversation, [first, answer])
    asked_again = _render(conversation, [first, answer, second])
    until_question, after_question = _split(asked, _QUESTIONS[0])
    before_answer, after_answer = _split(_rest(answered, asked), _ANSWER)
    before_question, after_second = _split(_rest(asked_again, answered), _QUESTIONS[1])
    if not until_question.endswith(before_question) or after_second != after_question:
        raise _irregular()
    beginning = until_question.removesuffix(before_question)
    return _Parts(
        beginning=beginning,
        before_question=before_question,
        after_question=after_question,
        header=_rest(prompt, asked),
        before_answer=before_answer,
        after_answer=after_answer,
        around_system=_around_system(conversation, asked, beginning) if conversation.system_role else None,
    )


def _around_system(conversation: Conversation, asked: str, beginning: str) -> tuple[str, str]:
    """The text before and after a system message between ``beginning`` and the rest of ``asked``."""
    messages = [{"role": "system", "content": _ANSWER}, {"role": "user", "content": _QUESTIONS[0]}]
    until_system, rest = _split(_render(conversation, messages), _ANSWER)
    question = asked.removeprefix(beginning)
    if not rest.endswith(question):
        raise _irregular()
    return _rest(until_system, beginning), rest.removesuffix(question)


def _render(conversation: Conversation, messages: list[dict[str, str]], *, add_generation_prompt: bool = False) -> str:
    text = conversation.tokenizer.apply_chat_template(
        messages,
        chat_template=conversation.chat_template,
        tokenize=False,
        add_generation_prompt=add_generation_prompt,
    )
    assert isinstance(text, str)
    return text


def _split(text: str, middle: str) -> tuple[str, str]:
    before, found, after = text.partition(middle)
    if not found:
        raise _irregular()
    return before, after


def _rest(text: str, beginning: str) -> str:
    if not text.startswith(beginning):
        raise _irregular()
    return text.removeprefix(beginning)


def _irregular() -> UserError:
    return UserError(
        "The chat template renders later turns differently from the first, which a Modelfile cannot express. "
        "Export safetensors only, or train in a format by name, such as chatml or tulu."
    )
