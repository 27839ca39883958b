"""Chat with a model in the terminal; responses are streamed."""

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

if TYPE_CHECKING:
    from response_tuning.conversation import Conversation
    from response_tuning.models.load import LoadedModel

__all__ = ["ChatConfig", "chat"]


class ChatConfig(BaseModel):
    """Chat with a run, or with any other model. Each question is answered on its own, as in training.

    For example:
        rt chat runs/quickstart/rt
        echo "What is rain?" | rt chat runs/quickstart/rt
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    _fix_dtype = model_validator(mode="before")(with_fixed_dtype)

    model: Annotated[str, tyro.conf.Positional]
    """A run, or any other model: 'embedded', a folder, a .gguf file, or a hub id as OWNER/NAME[@REVISION]."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one that a run was trained in; question-answer for 'embedded', tulu for others."""
    max_new_tokens: int = Field(default=256, ge=1)
    """The longest response, in tokens."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: bfloat16, or float32 if the device is faster in it."""
    device: Device = "auto"
    """The device to compute on."""


def chat(config: ChatConfig) -> None:
    """Answer each line of standard input until it ends. Ctrl-C stops an answer, or exits between two.

    Raises:
        UserError: there is no such model.
    """
    from response_tuning.runs.load import load_with_conversation
    from response_tuning.support.progress import say

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text
    loaded, conversation = load_with_conversation(config.model, config.format, dtype=config.dtype, device=config.device)
    interactive = sys.stdin.isatty()
    if interactive:
        say("Ask something; Ctrl-D ends.")
    while (question := _read_question(interactive)) is not None:
        if question:
            _answer(loaded, conversation, question, max_new_tokens=config.max_new_tokens)


def _read_question(interactive: bool) -> str | None:
    try:
        return input("\n> " if interactive else "").strip()
    except EOFError:
        return None


def _answer(loaded: "LoadedModel", conversation: "Conversation", question: str, *, max_new_tokens: int) -> None:
    """Print the answer to one question as it is generated."""
    import torch
    from transformers import TextStreamer

    from response_tuning.models.chat_files import set_stop_tokens

    set_stop_tokens(loaded.model, conversation.stop_token_ids)
    prompt = torch.tensor([conversation.prompt_ids(question)], device=loaded.model.device)
    streamer = TextStreamer(loaded.tokenizer, skip_prompt=True, skip_special_tokens=True)
    with contextlib.suppress(KeyboardInterrupt), torch.inference_mode():
        loaded.model.generate(  # type: ignore[operator]
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=max_new_tokens,
            streamer=streamer,
        )
