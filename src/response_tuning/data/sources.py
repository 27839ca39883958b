"""A data spec into examples: a JSONL file, or the data set that comes with this program."""

from importlib.resources import as_file, files
from pathlib import Path

from response_tuning.data.example import Example, read_examples
from response_tuning.options import STARTER

__all__ = ["STARTER_HELD_OUT", "load_examples"]

STARTER_HELD_OUT = "starter-held-out"
"""The data spec of the starter set's held-out pairs."""

_PACKAGED = {STARTER: "train.jsonl", STARTER_HELD_OUT: "held_out.jsonl"}


def load_examples(spec: str) -> list[Example]:
    """Read the examples that ``spec`` names.

    Raises:
        UserError: there is no such file, or it has bad rows.
    """
    if spec in _PACKAGED:
        with as_file(files("response_tuning.data.starter") / _PACKAGED[spec]) as path:
            return read_examples(path)
    return read_examples(Path(spec))
