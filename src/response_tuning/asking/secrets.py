"""Keep secrets out of everything written or printed: servers repeat keys in their error messages."""

import os
import re

__all__ = ["hide_secrets"]

_NAMES = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)S?$")
_SHORTEST = 8
# The shapes of keys, for those that are not in the environment.
_SHAPES = re.compile(r"\b(sk|hf|gsk|xai|pk|rk)[-_][A-Za-z0-9_-]{16,}|\bBearer +[A-Za-z0-9._~+/-]{16,}=*")


def hide_secrets(text: str) -> str:
    """``text`` with the values of environment variables that hold keys, and anything shaped like a key, replaced."""
    for name, value in os.environ.items():
        if _NAMES.search(name.upper()) and len(value) >= _SHORTEST:
            text = text.replace(value, f"[{name}]")
    return _SHAPES.sub("[secret]", text)
