"""The options of ``rt compare``."""

from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict

__all__ = ["CompareConfig"]


class CompareConfig(BaseModel):
    """Compare the evaluations of several runs, prompt by prompt: values, and paired differences to the first run.

    For example:
        rt compare runs/it runs/rt
        rt compare embedded runs/it runs/rt --tasks probe --output compared.json --report compared.html
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs: Annotated[
        tuple[str, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="RUN RUN [RUN ...]", help_behavior_hint="(two or more)"),
    ] = ()
    """Two or more runs or other models with evaluations; the first is the baseline."""
    tasks: Annotated[tuple[str, ...], tyro.conf.arg(help_behavior_hint="")] = ()
    """Compare only these evaluations, such as probe or ifeval. Defaults to all that every run has."""
    p_values: bool = False
    """Also compute p values of the differences, adjusted for their number (Holm)."""
    output: Path | None = None
    """Also write the result as JSON."""
    report: Path | None = None
    """Also write the result as an HTML page."""
