"""The registry of data sources. To add one, write a class (``source.py``) and list it here."""

from response_tuning.data.sources.source import Source
from response_tuning.support.errors import UserError
from response_tuning.support.plugins import instances

__all__ = ["SOURCES", "SOURCE_PLUGINS", "find_source", "sources"]

SOURCES = (
    "response_tuning.data.sources.starter_sets:StarterSets",
    "response_tuning.data.sources.published:PublishedSets",
    "response_tuning.data.sources.hub_data_set:HubDataSet",
    "response_tuning.data.sources.local_file:LocalFile",
)
"""The sources of this package; the first one that accepts a spec reads it."""
SOURCE_PLUGINS = "response_tuning.sources"
"""The entry point group of other packages' sources, which are asked after those of this package."""


def sources() -> list[Source]:
    """Every source, in the order in which they are asked."""
    return instances(SOURCES, SOURCE_PLUGINS)


def find_source(spec: str) -> Source:
    """The source that reads ``spec``.

    Raises:
        UserError: there is none.
    """
    for source in sources():
        if source.accepts(spec):
            return source
    raise UserError(f"There is no file {spec}.")
