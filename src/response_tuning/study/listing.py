"""What ``rt study list`` prints."""

import textwrap

from response_tuning.study.definition.packaged import packaged_studies, read_named
from response_tuning.study.definition.study_file import AXES
from response_tuning.study.planning.methods import study_methods

__all__ = ["listed"]

_WIDTH = 100
_COLUMN = 24


def listed() -> str:
    """The packaged studies, the methods and the axes, each with a line."""
    questions = {name: str(read_named(name).values.get("question", "")) for name in packaged_studies()}
    methods = {name: method.help for name, method in study_methods().items()}
    axes = {**AXES, "any option of rt train": "such as learning_rate or lora_rank"}
    parts = {"Studies": questions, "Methods": methods, "Axes": axes}
    return "\n\n".join(
        "\n".join([f"{title}:", *(_line(name, what) for name, what in lines.items())]) for title, lines in parts.items()
    )


def _line(name: str, what: str) -> str:
    first, *others = textwrap.wrap(what, _WIDTH - _COLUMN) or [""]
    return "\n".join([f"  {name:{_COLUMN}}{first}", *(" " * (_COLUMN + 2) + other for other in others)])
