"""The options of the quickstart."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from response_tuning.data.sources.load_examples import STARTER_TEST
from response_tuning.support.options import EMBEDDED, STARTER

__all__ = ["QuickstartConfig"]


class QuickstartConfig(BaseModel):
    """Tune a small base model on responses alone and on pairs, and compare both with the base model in one report.

    For example:
        rt quickstart
        rt quickstart --seeds 3
        rt quickstart --size full
        rt quickstart --model Qwen/Qwen3-0.6B-Base --output runs/qwen
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    output: Path = Path("runs/quickstart")
    """The folder for both runs, the probes and the report."""
    model: str = EMBEDDED
    """The base model: 'embedded', a folder, a .gguf file or a hub id."""
    data: str = STARTER
    """Training pairs: a JSONL file, or 'starter'."""
    held_out: str = STARTER_TEST
    """Held-out pairs for the probes, which chose nothing: 'starter-test', 'alpaca-eval', or a file."""
    size: Literal["auto", "full", "small"] = "auto"
    """full: all of the data. small: the first half, 160 pairs to train on and 80 instructions to ask. auto: small
    where the full form would take this machine more than 15 minutes."""
    seeds: int = Field(default=1, ge=1)
    """Trainings of each method, with seeds from --seed on; intervals then hold for new seeds as well."""
    max_examples: int | None = Field(default=None, ge=2)
    """Ask only this many of the held-out instructions, the first ones."""

    # Chosen by trials on the embedded model and the split starter-held-out (docs/log.md).
    epochs: int = Field(default=2, ge=1)
    """Passes over the training data."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """The peak learning rate."""
    lora_rank: int = Field(default=16, ge=1)
    """The rank of the adapter matrices."""
    batch_size: int = Field(default=8, ge=1)
    """Examples per optimizer step."""
    max_new_tokens: int = Field(default=128, ge=1)
    """The maximum length of a response in the probes, in tokens."""
    seed: int = 0
    """The first seed of the adapter's initial weights and the order of examples."""
