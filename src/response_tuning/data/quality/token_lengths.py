"""A data set in tokens: lengths, truncations, and one example token by token."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from response_tuning.data.quality.check_config import CheckConfig
from response_tuning.example import Row
from response_tuning.support.progress import progress_bar

if TYPE_CHECKING:
    from response_tuning.conversation import Conversation

__all__ = ["ShownToken", "TokenLengths", "control_token_warnings", "conversation_for", "measure_tokens", "show_tokens"]


@dataclass(frozen=True)
class TokenLengths:
    """The lengths of all rows in tokens, as in training."""

    model: str
    format: str
    method: str
    max_length: int
    lengths: list[int]
    """Prompt and response of each row, before truncation."""
    supervised_tokens_per_epoch: int
    """After truncation."""
    truncated: list[int]
    """The lines of rows whose response would be truncated."""
    without_room: list[int]
    """The lines of rows whose prompt alone fills the maximum length."""
    without_prompt: list[int]
    """The lines of rows that instruction tuning cannot use."""


@dataclass(frozen=True)
class ShownToken:
    """A token, and whether it is supervised."""

    text: str
    supervised: bool


def conversation_for(config: CheckConfig) -> "Conversation":
    """The encoder that training with the same options uses. Loads the tokenizer, not the model.

    Raises:
        UserError: there is no such model.
    """
    from response_tuning.conversation import Conversation, default_format
    from response_tuning.models.load import load_tokenizer

    chosen = default_format(config.model) if config.format == "auto" else config.format
    return Conversation(load_tokenizer(config.model), chosen)


def measure_tokens(rows: Sequence[Row], conversation: "Conversation", config: CheckConfig) -> TokenLengths:
    """Encode every row."""
    result = TokenLengths(config.model, conversation.format_name, config.method, config.max_length, [], 0, [], [], [])
    supervised = 0
    with progress_bar("counting tokens", len(rows)) as bar:
        for row in rows:
            bar.advance()
            if config.method == "it" and row.example.prompt is None:
                result.without_prompt.append(row.number)
                continue
            encoded = conversation.encode(row.example, config.method)
            length = len(encoded.input_ids)
            result.lengths.append(length)
            if encoded.prompt_length >= config.max_length:
                result.without_room.append(row.number)
            elif length > config.max_length:
                result.truncated.append(row.number)
            supervised += max(0, min(length, config.max_length) - encoded.prompt_length)
    return TokenLengths(**{**vars(result), "supervised_tokens_per_epoch": supervised})


def show_tokens(row: Row, conversation: "Conversation", config: CheckConfig) -> list[ShownToken]:
    """One example as training sees it, token by token."""
    method = "rt" if row.example.prompt is None else config.method
    encoded = conversation.encode(row.example, method)
    texts = [str(conversation.tokenizer.decode([token])) for token in encoded.input_ids[: config.max_length]]
    return [ShownToken(text, place >= encoded.prompt_length) for place, text in enumerate(texts)]


def control_token_warnings(rows: Sequence[Row], conversation: "Conversation", model: str) -> list[tuple[Row, str]]:
    """The rows whose texts contain the text of a control token, and why that matters."""
    found = []
    for row in rows:
        example = row.example
        texts = {"prompt": example.prompt or "", "completion": example.completion}
        texts |= {f"earlier_turns.{place}": turn.content for place, turn in enumerate(example.earlier_turns or (), 1)}
        named = {name: conversation.control_tokens_in(text) for name, text in texts.items()}
        parts = [f"{', '.join(dict.fromkeys(tokens))} in {name}" for name, tokens in named.items() if tokens]
        if parts:
            reason = f"has the text of control tokens of {model} ({'; '.join(parts)}): read as plain text here, "
            found.append((row, reason + "but as control tokens by servers that do not separate text from template"))
    return found
