"""What a model that judges its own answers is asked, with a reference in view or without one.

After Self-J (Ye & Ng 2024, arXiv 2409.00935): it learns to grade without a reference what it grades with one. The
grades are ten digits, and the request is one template, so both forms differ in the reference alone.
"""

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["GRADES", "judge_request"]

GRADES = tuple(range(10))
"""The grades of an answer, from useless to right and complete."""


def judge_request(instruction: str, answer: str, *, reference: str | None = None) -> str:
    """The request to grade an answer; with a reference, the form that the teacher of Self-J sees."""
    texts = {"instruction": instruction, "answer": answer, "reference": reference or ""}
    return _template().render(**{name: text.strip() for name, text in texts.items()})


@cache
def _template() -> "Template":
    from jinja2 import StrictUndefined, Template

    text = (files("response_tuning.inference") / "judge_request.txt").read_text(encoding="utf-8")
    template: Template = Template(text, undefined=StrictUndefined)
    return template
