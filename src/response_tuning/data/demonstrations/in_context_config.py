"""The options of ``rt in-context``."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["InContextConfig", "Style"]

Style = Literal["response", "pairs", "zero-shot"]
"""What demonstrations show: responses alone, instructions with responses, or nothing."""


class InContextConfig(BaseModel):
    """Make a run that answers after demonstrations in its prompt; nothing is trained.

    For example:
        rt in-context embedded --output runs/in-context
        rt in-context embedded --style pairs --demonstrations urial --output runs/urial
        rt in-context embedded --style zero-shot --output runs/zero-shot
        rt in-context embedded --demonstrations data/mine.jsonl --count 8 --output runs/mine
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[Literal["in_context"], tyro.conf.Suppress] = "in_context"
    """The kind of run."""
    model: Annotated[str, tyro.conf.Positional]
    """The model that answers: 'embedded', a folder, a .gguf file, a hub id, or a trained run."""
    output: Path
    """The run folder to write."""
    style: Style = "response"
    """What the demonstrations show: responses alone (URIAL-R), pairs with their instructions (URIAL), or zero-shot."""
    demonstrations: str | None = None
    """starter: three of this package; urial: URIAL's three and its preamble, fetched; or examples as for --data.
    Defaults to starter."""
    count: int | None = Field(default=None, ge=1)
    """How many demonstrations, the first ones. Defaults to 3, or as many as there are."""
    preamble: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A text to put before the demonstrations. Defaults to URIAL's for urial, else to one of this package."""
    offline: bool = False
    """Fetch nothing: fail where a file is not here."""

    @model_validator(mode="after")
    def _fits_together(self) -> "InContextConfig":
        if self.style == "zero-shot":
            given = {"demonstrations": self.demonstrations, "count": self.count, "preamble": self.preamble}
            for name, value in given.items():
                if value is not None:
                    raise ValueError(f"--style zero-shot shows nothing before the query. Leave out --{name}.")
        return self
