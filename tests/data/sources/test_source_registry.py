"""The registry of sources: every class fulfils the contract, and each spec is read by the right one."""

from pathlib import Path

import pytest

from response_tuning.data.sources.hub_data_set import HubDataSet
from response_tuning.data.sources.local_file import LocalFile
from response_tuning.data.sources.published import PUBLISHED, PublishedSets
from response_tuning.data.sources.source import Source
from response_tuning.data.sources.source_registry import find_source, sources
from response_tuning.data.sources.starter_sets import StarterSets
from response_tuning.support.assets import ASSETS
from response_tuning.support.errors import UserError

OURS: list[Source] = [StarterSets(), PublishedSets(), HubDataSet(), LocalFile()]


def test_all_sources_are_registered_in_their_order() -> None:
    assert [type(source) for source in sources()[: len(OURS)]] == [type(source) for source in OURS]


def test_each_spec_is_read_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").touch()
    (tmp_path / "starter").touch()  # a name of a data set means the data set
    specs = {"starter": StarterSets, "lima": PublishedSets, "hub:a/b": HubDataSet, ".": LocalFile, "a.csv": LocalFile}
    assert {spec: type(find_source(spec)) for spec in specs} == specs


def test_a_spec_of_no_source_is_refused() -> None:
    with pytest.raises(UserError, match="There is no file none"):
        find_source("none")


def test_every_published_set_is_an_asset() -> None:
    assert {published.asset or name for name, published in PUBLISHED.items()} <= set(ASSETS)
