"""What is registered by name: the classes listed in a registry, and those that other installed packages offer."""

from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import EntryPoints, entry_points
from pkgutil import resolve_name
from typing import Any

from response_tuning.support.progress import say

__all__ = ["instances"]


def instances(registered: Sequence[str], group: str) -> list[Any]:
    """One instance of each registered class.

    Args:
        registered: classes of this package as ``"module:Class"``, so that a registry can name a module that imports it.
        group: the entry point group in which other packages register theirs.
    """
    return [*(resolve_name(name)() for name in registered), *_offered(group)]


def _offered(group: str) -> Iterator[Any]:
    """The classes of other packages. One that cannot be loaded is reported and skipped: all commands load them."""
    for entry_point in _entry_points(group):
        try:
            yield entry_point.load()()
        except Exception as error:  # whatever a package of somebody else raises
            say(f"The plugin {entry_point.value!r} ({group}) cannot be loaded and is skipped: {error}")


@cache
def _entry_points(group: str) -> EntryPoints:
    """Read once, since it takes milliseconds and each data set that is read asks for them."""
    return entry_points(group=group)
