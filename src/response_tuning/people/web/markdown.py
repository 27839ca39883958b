"""A response as HTML: Markdown, in which nothing of the response's own becomes markup, a link, or a request."""

from functools import cache

from markdown_it import MarkdownIt

__all__ = ["markdown_html"]


def markdown_html(text: str) -> str:
    """Format a response. HTML, links and images are shown as the text that they are."""
    return str(_renderer().render(text))


@cache
def _renderer() -> MarkdownIt:
    renderer = MarkdownIt("commonmark", {"html": False, "linkify": False}).enable(["table", "strikethrough"])
    # A link would lead raters away, and an image would be fetched from elsewhere.
    return renderer.disable(["link", "image", "autolink", "reference", "html_inline", "html_block"])
