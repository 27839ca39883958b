"""The requests that synthesis sends to a model: Jinja templates beside this module."""

from importlib.resources import files

__all__ = ["fill_template", "read_template"]


def read_template(name: str) -> str:
    """The text of the template file ``name``."""
    return (files("response_tuning.synthesis") / name).read_text(encoding="utf-8")


def fill_template(template: str, **values: object) -> str:
    """Render a template. A name in it that has no value raises ``jinja2.UndefinedError``."""
    from jinja2 import StrictUndefined, Template

    filled: str = Template(template, undefined=StrictUndefined).render(**values)
    return filled
