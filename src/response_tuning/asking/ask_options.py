"""The options of every command that asks a language model many questions."""

from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.support.options import EMBEDDED_INSTRUCT
from response_tuning.support.secrets import Url

__all__ = ["AskOptions"]


class AskOptions(BaseModel):
    """Which model to ask, and with what limits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = EMBEDDED_INSTRUCT
    """The model to ask. In this process: 'embedded-instruct', a run, a folder, a .gguf file or a hub id as
    OWNER/NAME[@REVISION]. Through Inspect AI: PROVIDER/NAME, such as openai/gpt-5-mini, vllm/Qwen/Qwen3-8B, or
    openai-api/SERVICE/NAME for any OpenAI-compatible server (with SERVICE_BASE_URL and SERVICE_API_KEY set)."""
    base_url: Url | None = None
    """The address of the server. Defaults to the provider's own. Keys are read from the environment only."""
    concurrency: Annotated[int, tyro.conf.arg(aliases=["-j"])] = Field(default=8, ge=1)
    """The number of concurrent questions; for a model in this process, the batch size."""
    max_tokens: int = Field(default=1024, ge=1)
    """The maximum length of an answer in tokens. With a larger one, answers that were cut off are asked for again."""
    retries: int = Field(default=4, ge=0)
    """Retries of a failed request, with exponential backoff; 0: one request for each question."""
    timeout_seconds: int = Field(default=300, ge=1)
    """The timeout of a request."""
    retry_errors: bool = False
    """Ask again where an earlier call ended in an error, or where the server refused a question."""
    retry_unparsed: bool = False
    """Ask again where an earlier answer could not be read."""
    dry_run: bool = False
    """Ask nothing; print the number of questions, tokens, the expected time and the price."""
    input_usd_per_million: float | None = Field(default=None, ge=0)
    """The price of a million input tokens, for the estimate."""
    output_usd_per_million: float | None = Field(default=None, ge=0)
    """The price of a million output tokens, for the estimate."""
