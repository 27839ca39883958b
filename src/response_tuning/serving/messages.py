"""Messages as OpenAI's clients send them, as the turns of a dialogue.

The same rules as for training data (``data.sources.messages``) and in the saved chat template: a system message is put
in front of the next user turn, parts of a content are joined. What a chat format cannot hold is an error.
"""

from collections.abc import Sequence

from response_tuning.data.sources.messages import Message, read_messages
from response_tuning.data.sources.usage import Usage
from response_tuning.example import Turn

__all__ = ["leading_system", "turns_of"]


def turns_of(messages: object) -> list[Turn]:
    """The turns of a request, the last of which is the user's.

    Raises:
        ValueError: they are no messages, one calls a tool, or the assistant's is the last.
    """
    for number, message in enumerate(messages if isinstance(messages, list) else [], start=1):
        if isinstance(message, dict) and (message.get("tool_calls") or message.get("role") in ("tool", "function")):
            raise ValueError(f"field 'messages.{number}' is a tool call or its result, and runs have no tools")
    try:
        turns = _with_system_in_front(read_messages(messages, "messages", Usage()))
    except ValueError as error:
        raise ValueError(str(error).removesuffix(" to train on")) from None
    if not turns:
        raise ValueError("field 'messages' is empty: send at least one message of the role 'user'")
    if turns[-1].role != "user":
        raise ValueError("the last of the messages is the assistant's, and has to be the user's")
    return turns


def leading_system(messages: object) -> tuple[str | None, object]:
    """The text of the system messages before all others, joined, and the other messages; for ``turns_of``.

    For runs that were trained with a turn of the role system. None where there is no such message, or nothing after it.
    """
    if not isinstance(messages, list):
        return None, messages
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    count = next((place for place, role in enumerate(roles) if role not in ("system", "developer")), 0)
    if not count:
        return None, messages
    read = read_messages(messages[:count], "messages", Usage())
    return "\n\n".join(message.content for message in read), messages[count:]


def _with_system_in_front(messages: Sequence[Message]) -> list[Turn]:
    turns: list[Turn] = []
    system = ""
    for message in messages:
        if message.role == "system":
            system = f"{system}{message.content}\n\n"
            continue
        if message.role == "user":
            turns.append(Turn(role="user", content=system + message.content))
        else:
            turns += [Turn(role="user", content=system.removesuffix("\n\n"))] if system else []
            turns.append(Turn(role="assistant", content=message.content))
        system = ""
    return [*turns, Turn(role="user", content=system.removesuffix("\n\n"))] if system else turns
