"""What ``rt data refine`` asks for: the usual rewriting, or that of a paper (``--preset``)."""

from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["RefinePreset", "RefinePresetName", "refine_preset"]

RefinePresetName = Literal["none", "an-kim", "no-rephrasing"]


@dataclass(frozen=True, kw_only=True)
class RefinePreset:
    """One way to ask, and what a revision must keep."""

    template: str
    """The request, beside this module."""
    shows_prompts: bool = False
    """Whether the model sees the prompts, whatever ``--show-prompts`` says."""
    requires_prompts: bool = False
    """Whether every row needs one."""
    shortest_share: float = 0.5
    """Keep the original where the revision has less than this fraction of its characters."""
    keeps_facts: bool = True
    """Whether to keep the original where a number or a name is lost."""
    least_tokens: int = 0
    """The smallest limit of a server's answer, in tokens."""
    spare_tokens: int = 200
    """Beyond the length of the text, for a model in this process."""


_PRESETS: Final[dict[RefinePresetName, RefinePreset]] = {
    "none": RefinePreset(template="refine.txt"),
    # An & Kim 2025, appendix G: the instruction is shown, the model reviews first and may write 8,192 tokens, and an
    # answer with a marker is used as it is.
    "an-kim": RefinePreset(
        template="review_then_revise.txt",
        shows_prompts=True,
        shortest_share=0.0,
        keeps_facts=False,
        least_tokens=8_192,
        spare_tokens=700,
    ),
    # Hewitt et al. 2024, appendix C: do models learn from responses that rephrase their instruction?
    "no-rephrasing": RefinePreset(template="no_rephrasing.txt", shows_prompts=True, requires_prompts=True),
}


def refine_preset(name: RefinePresetName) -> RefinePreset:
    """The preset of this name."""
    return _PRESETS[name]
