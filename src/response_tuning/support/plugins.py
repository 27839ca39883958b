"""What other installed packages add to a registry, by entry points."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import Any

from response_tuning.support.progress import warn

__all__ = ["instances", "offered"]


def _as_it_is(loaded: Any) -> Any:
    return loaded


@cache
def offered(group: str, make: Callable[[Any], Any] = _as_it_is) -> dict[str, Any]:
    """What is registered in a group of entry points, by name.

    An entry that cannot be loaded or made is reported, once, and skipped: it must not break every command.

    Args:
        group: the group, such as ``response_tuning.sources``.
        make: what to make of each loaded value.
    """
    found: dict[str, Any] = {}
    for point in entry_points(group=group):
        try:
            found[point.name] = make(point.load())
        except Exception as error:  # whatever another package raises
            warn(f"The plugin {point.value!r} ({group}) cannot be loaded and is skipped: {error}")
    return found


def instances(registered: Sequence[str], group: str) -> list[Any]:
    """One instance of each class of a registry.

    Args:
        registered: classes of this package as ``"module:Class"``, so that a registry can name a module that imports it.
        group: the entry point group in which other packages register theirs.
    """
    return [*(resolve_name(name)() for name in registered), *offered(group, _instance).values()]


def _instance(loaded: Callable[[], Any]) -> Any:
    return loaded()
