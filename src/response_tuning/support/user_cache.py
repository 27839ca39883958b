"""The folder in the user's cache that everything of this program is in."""

import os
from pathlib import Path

from platformdirs import user_cache_path

__all__ = ["size_bytes", "user_cache"]


def user_cache() -> Path:
    """The folder, whether it is there or not."""
    return user_cache_path("response-tuning", appauthor=False)


def size_bytes(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; 0 if there is neither.

    Links are not followed, since the hub's cache has one for each file.
    """
    if os.path.lexists(path) and not path.is_dir():
        return path.lstat().st_size
    total = 0
    for place, _, names in os.walk(path):
        for name in names:
            try:
                total += (Path(place) / name).lstat().st_size
            except OSError:  # removed meanwhile
                continue
    return total
