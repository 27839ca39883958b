"""A source and a recipe of another package: installed, they are there on the command line without any other edit."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from response_tuning.data.recipes.recipe_registry import RECIPE_PLUGINS
from response_tuning.data.sources.source_registry import SOURCE_PLUGINS
from response_tuning.example import read_examples

MODULE = '''
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro
from pydantic import BaseModel

from response_tuning.data.recipes.recipe import Made
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.data.sources.source import SourceOptions
from response_tuning.example import Example, Row


class Proverbs:
    help = "proverbs (those of our wiki)"

    def accepts(self, spec: str) -> bool:
        return spec == "proverbs"

    def read(self, spec: str, options: SourceOptions) -> Iterator[Row]:
        yield Row("proverbs 1", 1, Example(completion="Make hay while the sun shines."))


class ShoutConfig(BaseModel):
    """Write every response in capitals."""

    source: Annotated[str, tyro.conf.Positional]
    output: Path


class Shout:
    name = "shout"
    config = ShoutConfig

    def make(self, config: ShoutConfig) -> Made:
        return Made([Example(completion=row.completion.upper()) for row in load_examples(config.source)])
'''
BROKEN = "response_tuning_broken_plugin"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with an installed package that offers a source, a recipe and something that cannot be loaded."""
    folder = tmp_path / "site"
    metadata = folder / "toys-0.1.dist-info"
    metadata.mkdir(parents=True)
    (folder / "toys.py").write_text(MODULE, encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 0.1\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(
        f"[{SOURCE_PLUGINS}]\nproverbs = toys:Proverbs\nbroken = {BROKEN}:Source\n"
        f"[{RECIPE_PLUGINS}]\nshout = toys:Shout\n",
        encoding="utf-8",
    )
    return folder


def rt(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "response_tuning", *arguments]
    return subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, cwd=installed.parent, capture_output=True, text=True
    )


def test_a_source_and_a_recipe_of_another_package_run_from_the_command_line(installed: Path, tmp_path: Path) -> None:
    prepared = rt(installed, "data", "prepare", "proverbs", "--output", "proverbs.jsonl")
    assert (prepared.returncode, prepared.stdout.startswith("1 examples of 1 rows written")) == (0, True)
    shouted = rt(installed, "data", "shout", "proverbs", "--output", "loud.jsonl")
    assert (shouted.returncode, shouted.stdout) == (0, "1 examples written to loud.jsonl\n")
    (example,) = read_examples(tmp_path / "loud.jsonl")
    assert example.completion == "MAKE HAY WHILE THE SUN SHINES."


def test_the_help_names_the_sources_of_other_packages_and_reports_a_broken_one(installed: Path) -> None:
    shown = rt(installed, "data", "prepare", "--help")
    assert "proverbs (those of our wiki)" in " ".join(shown.stdout.split())
    assert f"plugin '{BROKEN}:Source'" in " ".join(shown.stderr.split())
    assert shown.returncode == 0
