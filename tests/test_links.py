"""Every link of the documents leads somewhere: to a file of the repository, and to a heading of a page."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

GENERATED = {
    f"docs/{name}.md"
    for name in (
        "contributing",
        "changelog",
        "reference/api",
        "reference/commands",
        "reference/files",
        "reference/support",
    )
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    broken = [link for link in links if not link.startswith("http") and not _leads_somewhere(link, page)]
    assert not broken


def _leads_somewhere(link: str, page: Path) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    address = Path(os.path.normpath(target)).relative_to(ROOT).as_posix()
    if address in GENERATED:  # by the documentation site, whose build checks their anchors
        return True
    return target.exists() and (not anchor or anchor in _anchors(target.read_text(encoding="utf-8")))


def _anchors(text: str) -> list[str]:
    """The anchors of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
