"""The licence of the base model, and what it requires of those who distribute its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from response_tuning.support.options import EMBEDDED

__all__ = ["GEMMA_NOTICE", "Base", "describe_base"]

_GEMMA_TERMS = "https://ai.google.dev/gemma/terms"
_EMBEDDED_HUB_ID = "google/gemma-3-270m"

GEMMA_NOTICE = f"Gemma is provided under and subject to the Gemma Terms of Use found at {_GEMMA_TERMS}\n"
"""The text that section 3.1 of the Gemma terms requires in a file "Notice" beside distributed weights."""


@dataclass(frozen=True)
class Base:
    """How an export names the model that it was tuned from."""

    name: str
    """For people; never a path on this machine."""
    hub_id: str | None
    licence: str
    """The hub's identifier of the licence, or "unknown"."""
    licence_link: str | None = None


def describe_base(spec: str, path: str, model_type: str) -> Base:
    """Describe the base of a run.

    Args:
        spec: The model spec in the run's configuration.
        path: The folder or hub id that its weights were loaded from.
        model_type: As in transformers' configuration.
    """
    if spec == EMBEDDED:
        return Base("Gemma 3 270M", _EMBEDDED_HUB_ID, "gemma", _GEMMA_TERMS)
    is_local = Path(path).exists()
    hub_id = None if is_local else path
    name = hub_id or Path(spec).name
    if model_type.startswith("gemma"):
        return Base(name, hub_id, "gemma", _GEMMA_TERMS)
    card = _front_matter(_model_card(path, is_local=is_local))
    return Base(name, hub_id, str(card.get("license", "unknown")), card.get("license_link"))


def _model_card(path: str, *, is_local: bool) -> Path | None:
    if is_local:
        return Path(path) / "README.md"
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(path, "README.md"))
    except Exception:  # the hub's client raises many kinds; a card that cannot be fetched is an unknown licence
        return None


def _front_matter(path: Path | None) -> dict[str, Any]:
    """The YAML at the beginning of a model card."""
    if path is None or not path.is_file():
        return {}
    marker, _, rest = path.read_text(encoding="utf-8", errors="replace").partition("\n")
    if marker.strip() != "---":
        return {}
    try:
        values = yaml.safe_load(rest.partition("\n---")[0])
    except yaml.YAMLError:
        return {}
    return values if isinstance(values, dict) else {}
