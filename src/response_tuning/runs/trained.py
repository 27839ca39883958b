"""The kind of run that training makes: weights in this process. A base model is one that was not trained here."""

from typing import TYPE_CHECKING, Literal

from response_tuning.conversation import Conversation
from response_tuning.models.load import LoadedModel, load_model
from response_tuning.runs.formats import resolve_format, trained_prefix, trained_system
from response_tuning.support.options import Device, Dtype, FormatName

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["conversation_of", "load_with_conversation"]


def load_with_conversation(
    spec: str,
    format_name: FormatName | Literal["auto"],
    *,
    dtype: Dtype,
    device: Device,
    as_assistant: bool = False,
    dequantized: bool = False,
) -> tuple[LoadedModel, Conversation]:
    """Load any model spec for inference, with its chat format (``resolve_format``); ``dequantized`` as ``load_model``.

    Raises:
        UserError: there is no such model.
    """
    loaded = load_model(spec, dtype=dtype, device=device, dequantized=dequantized)
    return loaded, conversation_of(spec, format_name, loaded.tokenizer, as_assistant=as_assistant)


def conversation_of(
    spec: str,
    format_name: FormatName | Literal["auto"],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    as_assistant: bool = False,
) -> Conversation:
    """The chat format of a model spec (``resolve_format``) for its tokenizer, with the prefix of its training."""
    chosen = resolve_format(spec, format_name, tokenizer, as_assistant=as_assistant)
    return Conversation(
        tokenizer,
        chosen,
        rt_prefix=trained_prefix(spec, tokenizer),
        system=trained_system(spec, tokenizer) if format_name == "auto" else "user",
    )
