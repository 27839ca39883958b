"""Batched generation beside one prompt at a time: the same prompts, the same greedy decoding, one run.

    python benchmarks/generation.py runs/mine --prompts 40

One prompt at a time comes first, in one process with the batches; the model is loaded and warmed up once.
"""

import time

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.sources.load_examples import load_examples
from response_tuning.inference.generate import Response, generate_responses
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.options import Dtype


class BenchmarkConfig(BaseModel):
    """Measure how much faster batches are, and in how many responses they differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: tyro.conf.Positional[str] = "embedded"
    """The run or model that answers."""
    prompts: int = Field(default=40, ge=1)
    """How many of the held-out starter prompts, from the first."""
    max_new_tokens: int = Field(default=64, ge=1)
    """The longest response, in tokens."""
    batch_sizes: tuple[int, ...] = (1, 8, 40)
    """How many prompts at once; everything is compared with the first."""
    dtype: Dtype = "bfloat16"
    """The weights' type."""


def main() -> None:
    """Measure every batch size, and print a line for each."""
    config = tyro.cli(BenchmarkConfig)
    loaded, conversation = load_with_conversation(config.model, "auto", dtype=config.dtype, device="cpu")
    prompts = [example.prompt or "" for example in load_examples("starter-held-out")][: config.prompts]

    def respond(batch_size: int) -> tuple[list[Response], float]:
        started = time.perf_counter()
        answered: dict[int, Response] = {}
        for batch in generate_responses(
            loaded, conversation, prompts, max_new_tokens=config.max_new_tokens, batch_size=batch_size
        ):
            answered |= batch
        return [answered[index] for index in range(len(prompts))], time.perf_counter() - started

    respond(config.batch_sizes[-1])
    measured = {batch_size: respond(batch_size) for batch_size in config.batch_sizes}
    alone, alone_seconds = measured[config.batch_sizes[0]]
    for batch_size, (responses, seconds) in measured.items():
        same = sum(one == other for one, other in zip(responses, alone, strict=True))
        print(
            f"{batch_size:>4} at once: {seconds:6.1f} s, {alone_seconds / seconds:4.1f} times as fast, "
            f"{same} of {len(prompts)} responses the same ({config.dtype}, {torch.get_num_threads()} threads)",
            flush=True,
        )


if __name__ == "__main__":
    main()
