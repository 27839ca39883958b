"""``rt cache``: what this program keeps in the user's cache, and how to remove it."""

import shutil
from typing import Annotated

import tyro
from pydantic import BaseModel, ConfigDict

from response_tuning.support.errors import UserError
from response_tuning.support.user_cache import size_bytes, user_cache

__all__ = ["CacheConfig", "cache_entries", "remove_entry"]


class CacheConfig(BaseModel):
    """List what this program keeps in the user's cache, with sizes, or remove a part of it.

    Everything in it is made or downloaded again when it is needed. Models of the hub have a cache of their own, which
    'hf cache' manages.

    For example:
        rt cache
        rt cache --remove assets
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    remove: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Remove this entry of the list."""


def cache_entries() -> dict[str, int]:
    """The entries of the cache by name, with their sizes in bytes; empty if there is no cache."""
    folder = user_cache()
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name: size_bytes(path) for path in paths if not path.name.startswith(".")}


def remove_entry(name: str) -> int:
    """Remove an entry; returns the bytes that it had.

    Raises:
        UserError: there is no such entry.
    """
    entries = cache_entries()
    if name not in entries:
        listed = ", ".join(entries) or "nothing"
        raise UserError(f"The cache {user_cache()} has no entry {name!r}. It holds: {listed}.")
    path = user_cache() / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
    return entries[name]
