"""What a result depends on: the content of the data, the model's fingerprint, and the settings that change it.

Everything else (where results are saved, how fast and through which address a model was asked) is no reason to measure
again or to refuse a comparison.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from response_tuning.models.spec import is_local

__all__ = ["data_hash", "defaults_of", "result_settings"]

_DIGITS = 16

_NO_EFFECT = frozenset(
    {
        *("output", "plot", "formats", "checkpoints"),
        *("offline", "dry_run", "retry_errors", "retries", "timeout_seconds", "concurrency", "batch_size", "device"),
        *("base_url", "judge_base_url", "quality_judge_base_url"),
        *("input_usd_per_million", "output_usd_per_million", "allow_unparsed"),
    }
)
"""Options that change where and how fast a result is made, but not the result. A device and a batch size change at most
the rounding."""

_OF_LOCAL_MODELS = frozenset({"dtype", "format"})
"""Options without effect on a model behind a server."""


def result_settings(
    settings: Mapping[str, Any], *, defaults: Mapping[str, Any] | None = None, without: Iterable[str] = ()
) -> dict[str, Any]:
    """The settings that change a result, apart from the model.

    Args:
        settings: options by name, as in ``metrics.json``.
        defaults: of options that a file of an older version lacks.
        without: further options to leave out, such as the path of data that are compared by content.
    """
    left_out = _NO_EFFECT | {"model", *without}
    if not is_local(str(settings.get("model", ""))):
        left_out |= _OF_LOCAL_MODELS
    return {name: value for name, value in {**(defaults or {}), **settings}.items() if name not in left_out}


def defaults_of(config: type[BaseModel]) -> dict[str, Any]:
    """The defaults of a configuration's options as JSON values, without those that depend on the machine."""
    fields = {name: field for name, field in config.model_fields.items() if name != "dtype" and not field.is_required()}
    values = {name: field.get_default(call_default_factory=True) for name, field in fields.items()}
    defaults: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return defaults


def data_hash(rows: Iterable[Mapping[str, Any]]) -> str:
    """Sixteen hexadecimal digits of a hash of rows: their fields that are not None, in the order of the rows."""
    digest = hashlib.sha256()
    for row in rows:
        content = {name: value for name, value in row.items() if value is not None}
        digest.update(json.dumps(content, sort_keys=True, ensure_ascii=False, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()[:_DIGITS]
