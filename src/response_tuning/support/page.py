"""Reports as self-contained HTML pages, all in one style (``page.css``)."""

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from response_tuning.support.files import write_text

__all__ = ["write_page"]


def write_page(path: Path, template: str, **values: object) -> None:
    """Render a template, named by its path in this package, to ``path``. All text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("response_tuning", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    write_text(path, environment.get_template(template).render(**values))
