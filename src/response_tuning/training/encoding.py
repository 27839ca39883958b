"""The chat format of a training, from its options."""

from typing import TYPE_CHECKING

from response_tuning.conversation import Conversation
from response_tuning.training.training_config import EncodingOptions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["conversation_for"]


def conversation_for(tokenizer: "PreTrainedTokenizerBase", options: EncodingOptions) -> Conversation:
    """The conversation that a training encodes with; its format is resolved.

    Raises:
        UserError: the tokenizer does not fit the format, or the format has no system role and one is asked for.
    """
    assert options.format != "auto"
    return Conversation(
        tokenizer, options.format, rt_prefix=options.rt_prefix, system=options.system, rt_keeps=options.rt_keeps
    )
