"""The options of every command that asks a language model many questions."""

from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.support.options import EMBEDDED_INSTRUCT

__all__ = ["AskOptions"]


class AskOptions(BaseModel):
    """Which model to ask, and how hard to press it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = EMBEDDED_INSTRUCT
    """The model to ask. In this process: 'embedded-instruct', a run, a folder, a .gguf file or a hub id as
    OWNER/NAME[@REVISION]. Through Inspect AI: PROVIDER/NAME, such as openai/gpt-5-mini, vllm/Qwen/Qwen3-8B, or
    openai-api/SERVICE/NAME for any OpenAI-compatible server (with SERVICE_BASE_URL and SERVICE_API_KEY set)."""
    base_url: str | None = None
    """The address of the server, where it is not the provider's own. Keys are read from the environment only."""
    concurrency: Annotated[int, tyro.conf.arg(aliases=["-j"])] = Field(default=8, ge=1)
    """How many questions are under way at once; in this process, the size of a batch."""
    max_tokens: int = Field(default=1024, ge=1)
    """The longest answer, in tokens."""
    retries: int = Field(default=4, ge=0)
    """How often a failed request is repeated, after growing pauses."""
    timeout_seconds: int = Field(default=300, ge=1)
    """A request that takes longer has failed."""
    retry_errors: bool = False
    """Ask again what ended in an error before."""
    dry_run: bool = False
    """Ask nothing; say how much would be asked, how long it may take and what it would cost."""
    input_usd_per_million: float | None = Field(default=None, ge=0)
    """The price of a million tokens of questions, for the estimate."""
    output_usd_per_million: float | None = Field(default=None, ge=0)
    """The price of a million tokens of answers, for the estimate."""
