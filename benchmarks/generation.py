"""Batched generation beside one prompt at a time, and beside batches that keep their finished rows: one run.

    python benchmarks/generation.py runs/mine --prompts 40

Every batch size is measured twice: as ``rt`` decodes, dropping finished rows, and at full width until the last row has
finished, as ``generate`` of transformers does. The model is loaded and warmed up once, and rounds take turns.
"""

import time
from contextlib import nullcontext
from typing import NamedTuple
from unittest.mock import patch

import torch
import tyro
from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.sources.load_examples import load_examples
from response_tuning.inference import decoding
from response_tuning.inference.generate import Response, generate_responses
from response_tuning.models.dtype import fixed_dtype
from response_tuning.runs.load import load_responder
from response_tuning.support.options import Device, Dtype


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
    rounds: int = Field(default=1, ge=1)
    """How often everything is measured; the table has the sums."""
    dtype: Dtype = "auto"
    """The dtype of the weights. auto: the faster one of the device."""
    device: Device = "auto"
    """Where to generate."""


class Measured(NamedTuple):
    """One way of answering all prompts."""

    responses: list[Response]
    seconds: float


def main() -> None:
    """Measure every batch size both ways, and print a line for each."""
    config = tyro.cli(BenchmarkConfig)
    dtype = fixed_dtype(config.dtype, config.device)
    responder = load_responder(config.model, "auto", dtype=dtype, device=config.device)
    prompts = [example.prompt or "" for example in load_examples("starter-held-out")][: config.prompts]

    def respond(batch_size: int, *, narrows: bool) -> Measured:
        with nullcontext() if narrows else patch.object(decoding, "_can_narrow", lambda _model: False):
            started = time.perf_counter()
            answered: dict[int, Response] = {}
            for batch in generate_responses(
                responder, prompts, max_new_tokens=config.max_new_tokens, batch_size=batch_size
            ):
                answered |= batch
            seconds = time.perf_counter() - started
        return Measured([answered[index] for index in range(len(prompts))], seconds)

    respond(config.batch_sizes[-1], narrows=True)
    ways = [(size, narrows) for size in config.batch_sizes for narrows in ((False, True) if size > 1 else (True,))]
    rounds = [{way: respond(way[0], narrows=way[1]) for way in ways} for _ in range(config.rounds)]
    first = rounds[0][ways[0]].responses
    tokens = sum(response.token_count for response in first)
    seconds = {way: sum(measured[way].seconds for measured in rounds) for way in ways}
    for size, narrows in ways:
        same = sum(one == other for one, other in zip(rounds[0][size, narrows].responses, first, strict=True))
        print(
            f"{size:>4} at once, {'finished rows dropped' if narrows else 'at full width':21}: "
            f"{seconds[size, narrows]:6.1f} s, {tokens * config.rounds / seconds[size, narrows]:6.1f} tokens/s, "
            f"{seconds[ways[0]] / seconds[size, narrows]:5.2f}x the first, "
            f"{same} of {len(prompts)} responses the same ({dtype}, {torch.get_num_threads()} threads)",
            flush=True,
        )


if __name__ == "__main__":
    main()
