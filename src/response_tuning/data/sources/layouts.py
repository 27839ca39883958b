"""The layouts of rows that are recognised by themselves, and what each makes of a row.

``docs/data-layouts.md`` lists every field of them: used how, or not used. A layout is recognised only where its field
names cannot mean anything else.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from response_tuning.data.sources.completions import answer_of
from response_tuning.data.sources.messages import (
    Message,
    as_messages,
    examples_of,
    is_conversation,
    read_messages,
    text_messages,
)
from response_tuning.data.sources.usage import Usage
from response_tuning.support.records import decode_json, json_type, preview

__all__ = ["CHAT_FIELDS", "OWN_FIELDS", "from_pair", "recognise", "with_others"]

CHAT_FIELDS = ("messages", "conversations", "conversation", "dialogue", "dialog", "chat", "turns")
"""Fields that hold a whole conversation."""
OWN_FIELDS = ("prompt", "completion", "earlier_turns")
"""The fields of an example; a source's own fields of these names never replace them."""
_ALWAYS_CHAT = ("messages", "conversations")
_TEXTS_ALTERNATE = ("conversations", "conversation", "dialogue", "dialog")
_SYSTEM_FIELDS = ("system", "system_prompt")
_CONVERSATION_STARTS = ("[{", "[ {", "[\n", '{"role":', '{"from":', "{'role':", "{'from':")
_TRANSCRIPT = "\n\nHuman: "

Fields = dict[str, Any]


@dataclass(frozen=True)
class _Pairs:
    """A layout of one instruction and one response, in fields of text."""

    name: str
    prompt: str
    completion: str
    contexts: tuple[str, ...] = ()
    """Fields of which at most one is filled: it follows the instruction after a blank line."""
    needs: tuple[str, ...] = ()
    """Fields without which the others could mean something else."""


_PAIRS = (
    _Pairs("Alpaca (instruction, input, output)", "instruction", "output", ("input", "context")),
    _Pairs("Dolly (instruction, context, response)", "instruction", "response", ("context", "input")),
    _Pairs("OpenOrca (system_prompt, question, response)", "question", "response", needs=("system_prompt",)),
    _Pairs("prompt and response", "prompt", "response"),
    _Pairs("ms-swift (query, response)", "query", "response"),
)
_ADDED_FIELDS = frozenset(
    [
        *("category", "checks", "kind", "pair", "refinement", "source"),
        *("source_completion", "source_passage", "source_prompt"),
        *("rejected", "desirable"),  # ``rt train --preference-loss`` reads them
        *("answer", "grade", "self_rating", "similarity"),  # ``rt data judge-set``
        *("preferences", "feedback", "variant"),  # ``rt data feedback``
        *("role", "rules", "rule_check", "instruction_like", "prompt_source"),  # other commands that ask a model
    ]
)
"""Fields that the packaged data sets, readers of texts and commands of ours add or use: not reported as unused."""
_RESPONSES = ("output", "response", "completion", "chosen")


def recognise(row: Fields, usage: Usage) -> list[Fields] | None:
    """The examples of a row whose layout is unmistakable, as the fields of each; None for any other row.

    Raises:
        ValueError: the layout is known, and a field of it is missing, empty, of the wrong type, or contradicts another.
    """
    for layout in (_chat, _gemini, _openai_preference, _own, _preference, _rated, _answers, _pairs):
        examples = layout(row, usage)
        if examples is not None:
            # TRL's unpaired preferences have a label beside our own fields, LLaMA-Factory's beside messages, or a tag.
            verdict = _verdict(row, "desirable", "kto_tag", *(["label"] if layout in (_own, _chat) else []))
            if verdict is None:
                return examples
            # The verdict on a conversation is one on its last response.
            return [{**example, "desirable": verdict} for example in (examples[-1:] if layout is _chat else examples)]
    return None


def from_pair(prompt: object, completion: object, system: Iterable[Message], usage: Usage) -> list[Fields]:
    """The examples of a prompt and a completion of which at least one is a list of messages (TRL).

    Assistant turns in the prompt are context; those of the completion are trained.
    """
    messages = [*system, *(replace(part, trains=False) for part in _side(prompt, "prompt", "user", usage))]
    return examples_of([*messages, *_side(completion, "completion", "assistant", usage)], "completion", usage)


def _chat(row: Fields, usage: Usage) -> list[Fields] | None:
    """A conversation in a field of its own, after OpenAI, ShareGPT, UltraChat, WildChat, Mistral or LIMA."""
    chosen = _decoded(row.get("chosen"))
    is_whole = isinstance(chosen, list) and is_conversation(chosen) and _starts_with_user(chosen)
    if is_whole and _holds_messages(row.get("rejected")):
        return None  # whole conversations as preferences, with a copy of the chosen one, as UltraFeedback's
    field = _chat_field(row)
    if field is None:
        return _ultrachat(row, usage)
    value = _decoded(row[field])
    texts = _alternates(field, value)
    messages = text_messages(texts, field) if texts else read_messages(value, field, usage)
    used = [field]
    if not any(message.role == "system" for message in messages):
        system, system_field = _system(row)
        messages, used = [*system, *messages], [*used, *system_field]
    preferred = _preferred_after(messages, row, usage)
    if preferred:
        messages = [*(replace(message, trains=False) for message in messages), *preferred]
        used += ["chosen"]
    examples = examples_of(messages, field, usage)
    usage.layouts[_chat_name(field, value)] += 1
    return with_others(examples, row, used, usage)


def _preferred_after(messages: list[Message], row: Fields, usage: Usage) -> list[Message]:
    """The chosen response beside a conversation that waits for one (LLaMA-Factory, WildFeedback); none of other rows.

    It is a message; in a row that has a rejected one too, a text or a list of messages as well.
    """
    chosen = _decoded(row.get("chosen"))
    if isinstance(chosen, dict):
        return read_messages([chosen], "chosen", usage)
    if not messages or messages[-1].role != "user" or row.get("rejected") is None:
        return []
    if isinstance(chosen, str) and chosen.strip():
        return [Message("assistant", chosen, field="chosen")]
    if is_conversation(chosen) and isinstance(chosen, list) and not _starts_with_user(chosen):
        return read_messages(chosen, "chosen", usage)
    return []


def _chat_name(field: str, value: object) -> str:
    """A conversation's layout by the tool that writes it so, where its field and its messages' names tell."""
    first = value[0] if isinstance(value, list) and value else None
    if isinstance(first, dict) and "from" in first:
        return f"ShareGPT ({field})"
    return f"OpenAI chat ({field})" if field == "messages" else f"conversations ({field})"


def _chat_field(row: Fields) -> str | None:
    for name in CHAT_FIELDS:
        if name in row and _is_chat(name, row[name]):
            return name
    if "completion" in row or any(_fits(pairs, row) for pairs in _PAIRS):
        return None
    # Named like a conversation, and the only thing that can be one: what is wrong with it is the error to show.
    return next((name for name in _ALWAYS_CHAT if row.get(name) is not None), None)


def _is_chat(name: str, value: object) -> bool:
    value = _decoded(value)
    return is_conversation(value) or bool(_alternates(name, value))


def _alternates(name: str, value: object) -> list[str]:
    """The texts of a conversation without roles, as LIMA writes them; empty for anything else."""
    if name not in _TEXTS_ALTERNATE or not isinstance(value, list) or len(value) < 2:
        return []
    return value if all(isinstance(text, str) for text in value) else []


def _decoded(value: object) -> object:
    """A conversation that a table transposed, or holds as text: JSON, or a list as Python prints it."""
    if not isinstance(value, str) or not value.lstrip().startswith(_CONVERSATION_STARTS):
        return as_messages(value)
    try:
        return as_messages(decode_json(value.encode("utf-8")))
    except ValueError:
        pass
    try:
        return as_messages(ast.literal_eval(value.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _ultrachat(row: Fields, usage: Usage) -> list[Fields] | None:
    """UltraChat's first form: ``data`` holds texts that alternate."""
    texts = row.get("data")
    if not (set(row) <= {"id", "data"} and isinstance(texts, list) and len(texts) > 1):
        return None
    if not all(isinstance(text, str) for text in texts):
        return None
    usage.layouts["UltraChat (data)"] += 1
    return with_others(examples_of(text_messages(texts, "data"), "data", usage), row, ["data"], usage)


def _gemini(row: Fields, usage: Usage) -> list[Fields] | None:
    """Gemini's and Vertex AI's tuning data: ``contents`` with parts, and ``systemInstruction`` beside it."""
    if not is_conversation(row.get("contents")):
        return None
    system_field = next((name for name in ("systemInstruction", "system_instruction") if row.get(name)), None)
    system = [{"role": "system", **_of_parts(row[system_field], system_field)}] if system_field else []
    turns = [
        {"role": turn.get("role", ""), **_of_parts(turn, f"contents.{number}")}
        for number, turn in enumerate(row["contents"], start=1)
    ]
    usage.layouts["Gemini's tuning data (contents)"] += 1
    examples = examples_of(read_messages([*system, *turns], "contents", usage), "contents", usage)
    return with_others(examples, row, ["contents", *filter(None, [system_field])], usage)


def _of_parts(turn: object, field: str) -> Fields:
    """The content of one turn of Gemini's; parts of other kinds than text are named by the reader of messages."""
    if isinstance(turn, str):
        return {"content": turn}
    parts = turn.get("parts") if isinstance(turn, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise ValueError(f"field {field!r} has no parts: {preview(turn)}")
    kinds = {"functionCall": "function_call", "functionResponse": "tool_result"}
    return {
        "content": [
            part if "text" in part else {"type": kinds.get(next(iter(part), ""), next(iter(part), "")), **part}
            for part in ({"type": "text", **part} if "text" in part else part for part in parts)
        ]
    }


def _own(row: Fields, usage: Usage) -> list[Fields] | None:
    """This package's own form, or TRL's prompt and completion as lists of messages."""
    if "completion" not in row:
        return None
    if not _holds_messages(row["completion"]) and not _holds_messages(row.get("prompt")):
        used = OWN_FIELDS
        own = [{name: row[name] for name in used if name in row}]
        return with_others(own, row, used, usage, known=_written_here(row))
    system, system_field = _system(row, beside=row.get("prompt"))
    examples = from_pair(row.get("prompt"), row["completion"], system, usage)
    usage.layouts["TRL's conversational prompt and completion"] += 1
    return with_others(examples, row, ["prompt", "completion", *system_field], usage)


def _openai_preference(row: Fields, usage: Usage) -> list[Fields] | None:
    """OpenAI's preferences: ``input.messages``, ``preferred_output``, ``non_preferred_output``."""
    asked = row.get("input")
    if not isinstance(asked, dict) or "messages" not in asked or "preferred_output" not in row:
        return None
    context = [replace(message, trains=False) for message in read_messages(asked["messages"], "input.messages", usage)]
    answer = read_messages(row["preferred_output"], "preferred_output", usage)
    usage.layouts["OpenAI's preferences (input.messages, preferred_output)"] += 1
    examples = examples_of([*context, *answer], "preferred_output", usage)
    return with_others(examples, row, ["input", "preferred_output"], usage)


def _preference(row: Fields, usage: Usage) -> list[Fields] | None:
    """Preference pairs of TRL or LLaMA-Factory: ``chosen`` is the response, ``rejected`` is not trained on."""
    chosen = _decoded(row.get("chosen"))
    if "rejected" not in row or chosen is None:
        return None
    asked = next((name for name in ("prompt", "instruction", "question") if row.get(name) is not None), None)
    prompt = _decoded(row[asked]) if asked else None
    used = ["chosen", *filter(None, [asked])]
    if asked == "instruction":
        prompt, context_field = _with_context(prompt, row, ("input", "context"), asked)
        used += context_field
    if isinstance(chosen, str) and chosen.startswith(_TRANSCRIPT):
        chosen, prompt = _transcript(chosen), None
    usage.layouts["preferences (the response is 'chosen')"] += 1
    if is_conversation(chosen) and isinstance(chosen, list) and _starts_with_user(chosen):
        messages = _last_trains(read_messages(chosen, "chosen", usage), _decoded(row["rejected"]))
        return with_others(examples_of(messages, "chosen", usage), row, used, usage)
    system, system_field = _system(row, beside=prompt)
    history, history_field = _history(row)
    chosen = [chosen] if isinstance(chosen, dict) else chosen
    examples = from_pair(prompt, chosen, [*system, *history], usage)
    return with_others(examples, row, [*used, *system_field, *history_field], usage)


def _rated(row: Fields, usage: Usage) -> list[Fields] | None:
    """UltraFeedback as published: several rated completions, of which the best is chosen and the worst rejected."""
    rated = row.get("completions")
    if not isinstance(rated, list) or not isinstance(row.get("instruction"), str) or len(rated) < 2:
        return None
    if not all(isinstance(each, dict) and isinstance(each.get("response"), str) for each in rated):
        return None
    scored = [(score, each["response"]) for each in rated if (score := _score(each)) is not None]
    if len(scored) < 2 or min(scored)[0] == max(scored)[0]:
        raise ValueError("has no two 'completions' with different scores ('overall_score')")
    best, worst = (pick(scored, key=lambda each: each[0])[1] for pick in (max, min))
    usage.layouts["UltraFeedback (completions; the best is the response, the worst is rejected)"] += 1
    pair = {"prompt": row["instruction"], "completion": _text(best, "completions"), "rejected": worst}
    return with_others([pair], row, ["instruction", "completions"], usage)


def _score(completion: Fields) -> float | None:
    """The mean rating of a completion by aspect, or its score; None without any.

    ``overall_score`` comes last, since the published one is known to be wrong in places.
    """
    ratings = completion.get("annotations")
    aspects = [each.get("Rating") for each in ratings.values()] if isinstance(ratings, dict) else []
    means = [completion.get("fine-grained_score"), completion.get("overall_score")]
    numbers = [float(str(value)) for value in aspects if str(value).replace(".", "", 1).isdigit()]
    if numbers:
        return sum(numbers) / len(numbers)
    return next((float(value) for value in means if isinstance(value, int | float)), None)


def _answers(row: Fields, usage: Usage) -> list[Fields] | None:
    """What a server answered: the output of a batch, or a logged chat completion."""
    answer = answer_of(row)
    if answer is None:
        return None
    usage.layouts[answer.layout] += 1
    if answer.others:
        usage.skip("further choices of one request", answer.field)
    asked = read_messages(answer.request, "request", usage) if answer.request is not None else []
    context = [replace(message, trains=False) for message in asked]
    examples = examples_of([*context, *read_messages([answer.message], answer.field, usage)], answer.field, usage)
    return with_others(examples, row, answer.used, usage)


def _pairs(row: Fields, usage: Usage) -> list[Fields] | None:
    """One instruction and one response in fields of text."""
    layout = next((pairs for pairs in _PAIRS if _fits(pairs, row)), None)
    if layout is None:
        return None
    _refuse_two_responses(layout, row)
    completion = row[layout.completion]
    prompt, context_field = _with_context(row[layout.prompt], row, layout.contexts, layout.prompt)
    system, system_field = _system(row, beside=prompt)
    history, history_field = _history(row)
    used = [layout.prompt, layout.completion, *context_field, *system_field, *history_field]
    if system or history or _holds_messages(prompt) or _holds_messages(completion):
        before = [*system, *history, *_side(prompt, layout.prompt, "user", usage)]
        answer = _side(completion, layout.completion, "assistant", usage)
        examples = examples_of([*before, *answer], layout.completion, usage)
    else:
        examples = [{name: part for name, part in (("prompt", prompt),) if part is not None}]
        examples[0]["completion"] = _text(completion, layout.completion)
    usage.layouts[layout.name] += 1
    return with_others(examples, row, used, usage)


def _refuse_two_responses(layout: _Pairs, row: Fields) -> None:
    responses = [name for name in _RESPONSES if row.get(name) not in (None, "")]
    if len(responses) > 1:
        raise ValueError(
            f"has the fields {responses[0]!r} and {responses[1]!r}, either of which may be the response. "
            f"Name one: --completion-field {layout.completion} --prompt-field {layout.prompt}"
        )


def _text(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"field {field!r} is {json_type(value)}, not a string: {preview(value)}")
    if not value.strip():
        raise ValueError(f"field {field!r} is empty: {preview(value)}")
    return value


def _fits(pairs: _Pairs, row: Fields) -> bool:
    return all(name in row for name in (pairs.prompt, pairs.completion, *pairs.needs))


def _side(value: object, field: str, role: str, usage: Usage) -> list[Message]:
    """One side of a pair as messages: a list of them, one text, or nothing."""
    value = _decoded(value)
    if value is None and field != "completion":
        return []
    if isinstance(value, str):
        return [Message("user" if role == "user" else "assistant", value, field=field)] if value else []
    return read_messages(value, field, usage)


def _holds_messages(value: object) -> bool:
    return is_conversation(_decoded(value))


def _system(row: Fields, *, beside: object = None) -> tuple[list[Message], list[str]]:
    """The row's own system message and its field, unless ``beside`` is a conversation that has one."""
    for name in _SYSTEM_FIELDS if not _has_system(beside) else ():
        value = row.get(name)
        if isinstance(value, list) and value and all(isinstance(part, dict) and "text" in part for part in value):
            value = "".join(str(part["text"]) for part in value)  # as Anthropic writes it
        if isinstance(value, str) and value.strip():
            return [Message("system", value, field=name)], [name]
    return [], []


def _has_system(prompt: object) -> bool:
    prompt = _decoded(prompt)
    return isinstance(prompt, list) and any(
        isinstance(message, dict) and message.get("role", message.get("from")) in ("system", "developer")
        for message in prompt
    )


def _history(row: Fields) -> tuple[list[Message], list[str]]:
    """LLaMA-Factory's ``history``, and its field: pairs of instruction and response, both trained on as there."""
    value = row.get("history")
    if value in (None, "", []):
        return [], []
    messages: list[Message] = []
    for number, pair in enumerate(value if isinstance(value, list) else [value], start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise ValueError(f"field 'history.{number}' is no pair of instruction and response: {preview(pair)}")
        messages += text_messages(pair, f"history.{number}")
    return messages, ["history"]


def _with_context(prompt: object, row: Fields, names: tuple[str, ...], field: str) -> tuple[Any, list[str]]:
    """The instruction with the text that follows it, and the field of that text."""
    filled = [name for name in names if row.get(name) not in (None, "", [], {})]
    if len(filled) > 1:
        raise ValueError(
            f"has the fields {filled[0]!r} and {filled[1]!r}, either of which may follow the instruction. "
            f"Name one: --context-field {filled[0]} --prompt-field {field} --completion-field NAME"
        )
    empty = [name for name in names if name in row and name not in filled]
    if not filled:
        if prompt is not None and not isinstance(prompt, str) and not _holds_messages(prompt):
            raise ValueError(f"field {field!r} is {json_type(prompt)}, not a string: {preview(prompt)}")
        return prompt, empty
    for name, value in ((field, prompt), (filled[0], row[filled[0]])):
        if value is not None and not isinstance(value, str):
            raise ValueError(f"field {name!r} is {json_type(value)}, not a string: {preview(value)}")
    context = row[filled[0]]
    return f"{prompt}\n\n{context}" if prompt else context, [filled[0], *empty]


def _verdict(row: Fields, *names: str) -> bool | None:
    """Whether the data set marks the response as a good one or a bad one; None where it does neither."""
    return next((row[name] for name in names if isinstance(row.get(name), bool)), None)


def _starts_with_user(chosen: list[Fields]) -> bool:
    return any(message.role == "user" for message in read_messages(chosen, "chosen", Usage())[:2])


def _last_trains(chosen: list[Message], rejected: object) -> list[Message]:
    """Of a whole chosen conversation, train what follows the turns that it has in common with the rejected one."""
    common = len(chosen) - 1
    if is_conversation(rejected):
        others = read_messages(rejected, "rejected", Usage())
        same = [
            (one.role, one.content) == (other.role, other.content) for one, other in zip(chosen, others, strict=False)
        ]
        common = same.index(False) if False in same else common
    return [replace(message, trains=message.trains and place >= common) for place, message in enumerate(chosen)]


def _transcript(text: str) -> list[Fields]:
    """Anthropic's HH transcripts: turns after ``\\n\\nHuman: `` and ``\\n\\nAssistant: ``."""
    messages: list[Fields] = []
    for turn in text.split(_TRANSCRIPT)[1:]:
        asked, *answers = turn.split("\n\nAssistant:")
        messages.append({"role": "user", "content": asked})
        messages += ({"role": "assistant", "content": answer.strip()} for answer in answers)
    return messages


def _written_here(row: Fields) -> frozenset[str]:
    """The fields that commands and data sets of this package add to its own rows: nobody has to be told of them."""
    return _ADDED_FIELDS | {"system"} if "source_prompt" in row else _ADDED_FIELDS


def with_others(
    examples: list[Fields],
    row: Fields,
    used: Iterable[str],
    usage: Usage,
    *,
    known: frozenset[str] = frozenset(),
) -> list[Fields]:
    """The examples with the row's other fields beside them, which are counted unless they are ``known``."""
    others = {name: value for name, value in row.items() if name not in used}
    if not others:
        return examples
    kept: Fields = {}
    for name, value in others.items():
        if name in OWN_FIELDS or (name in CHAT_FIELDS and _is_chat(name, value)):
            usage.left_out_fields[name] += value is not None
        else:
            kept[name] = value
    told = {name: value for name, value in kept.items() if name not in known}
    usage.unused_fields.update([name for name, value in told.items() if value not in (None, "", [], {})])
    return [{**kept, **example} for example in examples] if kept else examples
