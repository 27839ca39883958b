"""Chat with a model in the terminal; responses are streamed."""

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

from response_tuning.models.dtype import with_fixed_dtype
from response_tuning.support.options import Device, Dtype, FormatName

if TYPE_CHECKING:
    from response_tuning.inference.responder import Responder

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
    from response_tuning.inference.responder import PromptTooLongError
    from response_tuning.runs.load import load_responder
    from response_tuning.support.progress import say

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text
    responder = load_responder(
        config.model, config.format, dtype=config.dtype, device=config.device, purpose="Chatting"
    )
    interactive = sys.stdin.isatty()
    if interactive:
        say("Ask something; Ctrl-D ends.")
    line = 0
    while (question := _read_question(interactive)) is not None:
        line += 1
        try:
            if question:
                _answer(responder, question, max_new_tokens=config.max_new_tokens)
        except PromptTooLongError as error:
            if not interactive:
                raise error.named(f"Line {line}") from None
            say(str(error.named("The question")))


def _read_question(interactive: bool) -> str | None:
    try:
        return input("\n> " if interactive else "").strip()
    except EOFError:
        return None


def _answer(responder: "Responder", question: str, *, max_new_tokens: int) -> None:
    """Print the answer to one question as it is generated."""
    from response_tuning.inference.generate import generate_batch
    from response_tuning.inference.stream import TextStream

    prompt = responder.conversation.prompt_ids(question)
    responder.require_fit([prompt])
    stream = TextStream(responder, lambda text: print(text, end="", flush=True))
    with contextlib.suppress(KeyboardInterrupt):
        generate_batch(responder, [prompt], [max_new_tokens], streamer=stream)
    print()
