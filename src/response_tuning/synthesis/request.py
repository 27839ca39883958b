"""The requests that synthesis sends to a model: Jinja templates beside this module."""

from importlib.resources import files

from response_tuning.asking.ask import Question
from response_tuning.asking.ask_once import question_key

__all__ = ["fill_template", "question_of", "read_template"]


def read_template(name: str) -> str:
    """The text of the template file ``name``."""
    return (files("response_tuning.synthesis") / name).read_text(encoding="utf-8")


def fill_template(template: str, **values: object) -> str:
    """Render a template. A name in it that has no value raises ``jinja2.UndefinedError``."""
    from jinja2 import StrictUndefined, Template

    filled: str = Template(template, undefined=StrictUndefined).render(**values)
    return filled


def question_of(text: str, *, max_tokens: int, expected_characters: int) -> Question:
    """The question that a filled template is; its key is the text's."""
    return Question(key=question_key(text), text=text, max_tokens=max_tokens, expected_characters=expected_characters)
