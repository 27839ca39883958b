"""The generated list of modules is up to date."""

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_map_is_up_to_date() -> None:
    render = runpy.run_path(str(DOCS / "make_map.py"))["render"]
    assert (DOCS / "map.md").read_text(encoding="utf-8") == render(), "run python docs/make_map.py"
