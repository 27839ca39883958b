"""The options of ``rt rules``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from response_tuning.support.options import FormatName

__all__ = ["RulesConfig"]


def _names(value: Any) -> Any:
    """Names that are separated by commas, by spaces, or both."""
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return value
    return tuple(name.strip() for part in parts for name in part.split(",") if name.strip())


_Names = Annotated[tuple[str, ...], BeforeValidator(_names)]


class RulesConfig(BaseModel):
    """Make a run that answers with a base model and a few rules; nothing is trained (Hewitt et al. 2024, section 6).

    For example:
        rt rules embedded --output runs/rules
        rt rules embedded --output runs/rules-without-eos --without eos
        rt rules embedded --output runs/mine --config runs/rules/rules.yaml
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Annotated[Literal["rules"], tyro.conf.Suppress] = "rules"
    """The kind of run."""
    model: Annotated[str, tyro.conf.Positional]
    """The model that answers: 'embedded', a folder, a .gguf file, a hub id, or a trained run."""
    output: Path
    """The run folder to write."""
    rules: Annotated[_Names, tyro.conf.arg(metavar="RULE[,RULE...]", help_behavior_hint="(defaults to all)")] = ()
    """Only these rules. The published ones are eos, pieces and diversity."""
    without: Annotated[_Names, tyro.conf.arg(metavar="RULE[,RULE...]", help_behavior_hint="")] = ()
    """All rules but these, for an ablation."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = Field(default=None, exclude=True)
    """A file of rules, such as the rules.yaml of another run. Defaults to the published rules."""
    format: FormatName | Literal["auto"] = "auto"
    """The chat format. auto: the one that a run was trained in; question-answer for 'embedded', tulu for others."""
