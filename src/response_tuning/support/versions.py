"""Versions of Python and the main libraries, written to every result file."""

import platform
from importlib.metadata import version

__all__ = ["versions"]

_PACKAGES = ("response-tuning", "torch", "transformers", "peft", "accelerate", "sentence-transformers")


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that results depend on."""
    return {"python": platform.python_version(), **{package: version(package) for package in _PACKAGES}}
