"""Hooks of the documentation site: pages that are generated, and pages of the repository's root.

MkDocs calls ``on_config``, ``on_files`` and ``on_page_markdown`` while it builds the site (``mkdocs.yml``).
"""

import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
_FROM_ROOT = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages of the repository's root by the address that they have on the site."""
_LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
_SOURCE_ONLY = re.compile(r"\[([^\]]+)\]\((?:\.\./)+src/[^)]*\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put pages that no section names at the end of "How-to", so that a new page is found at once."""
    named = set(_pages(config.nav))
    others = sorted(path.name for path in DOCS.glob("*.md") if path.name not in named)
    for section in config.nav or []:
        if "How-to" in section:
            section["How-to"].extend(others)
    return config


def _pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [page for part in parts for page in _pages(part)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated reference, and the root's pages."""
    sys.path.insert(0, str(DOCS))
    from make_reference import pages

    for address, text in pages().items():
        files.append(File.generated(config, address, content=text))
    for name, address in _FROM_ROOT.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, address, content=_LINK.sub(_from_root, text)))
    return files


def _from_root(link: re.Match[str]) -> str:
    target = _FROM_ROOT.get(link[1], link[1].removeprefix("docs/"))
    return target + (link[2] or "")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to the root's pages to their place on the site; links to source files become their text."""
    folder = posixpath.dirname(page.file.src_uri)
    text = _SOURCE_ONLY.sub(r"\1", markdown)
    for name, address in _FROM_ROOT.items():
        to_root = posixpath.relpath(f"../{name}", folder or ".")
        text = text.replace(f"]({to_root}", f"]({posixpath.relpath(address, folder or '.')}")
    return text
