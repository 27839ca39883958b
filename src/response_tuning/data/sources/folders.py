"""What a folder holds: the files of rows of one split, as data sets are downloaded or saved, or texts."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from response_tuning.support.commands import command
from response_tuning.support.errors import UserError
from response_tuning.support.input_files import suffix_of
from response_tuning.support.progress import say

__all__ = ["files_in", "files_of_rows"]

_SKIPPED_FOLDERS = ("node_modules", "__pycache__", "venv")
_DOCUMENTATION = re.compile(
    r"(readme|licen[cs]e|notice|changelog|contributing|citation|authors|requirements|(data)?(set)?[-_]?card|datasheet"
    r"|code[-_]of[-_]conduct|security)\b.*",
    re.IGNORECASE,
)
_TYPED = (".parquet", ".arrow", ".feather")
"""Tables that nobody writes beside texts but as a data set."""
_METADATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "data_dict.json")
_TEXTS = (".md", ".txt")
_SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "eval"),
    "test": ("test", "testing"),
}
_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})")
_NAMES_SHOWN = 5


def files_in(folder: Path) -> list[Path]:
    """Every file below ``folder``, sorted by path, through links; hidden folders and caches are passed over."""
    return sorted(_walk(folder, set()))


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    real = folder.resolve()
    if real in seen:
        return
    seen.add(real)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        path = folder / name
        if name.startswith(".") or name in _SKIPPED_FOLDERS:
            continue
        if path.is_dir():
            yield from _walk(path, seen)
        elif path.is_file():
            yield path


def files_of_rows(folder: Path, suffixes: tuple[str, ...], split: str) -> list[Path]:
    """The files of rows in ``folder``, if it is a data set and not a folder of texts; what is passed over is logged.

    Args:
        folder: as it was downloaded from the hub, saved by ``datasets``, or made by hand.
        suffixes: of files of rows.
        split: the split to read, where files or folders are named after splits.

    Raises:
        UserError: it has no file of that split, files of several formats, or only some of a file's shards.
    """
    every = files_in(folder)
    rows = [path for path in every if suffix_of(path) in suffixes and path.name not in _METADATA]
    texts = [path for path in every if suffix_of(path) in _TEXTS and not _DOCUMENTATION.match(path.name)]
    if not rows or (texts and not any(map(_is_of_data_set, rows))):
        chosen = [path for path in every if suffix_of(path) in _TEXTS]
        _log_passed_over(folder, [path for path in every if path not in set(chosen)], readable=suffixes)
        return []
    chosen = _of_split(folder, rows, split)
    formats = Counter(map(suffix_of, chosen))
    if len(formats) > 1:
        listed = ", ".join(f"{count} {suffix}" for suffix, count in formats.most_common())
        raise UserError(f"{folder} holds rows in several formats ({listed}). Name one of its files.")
    _require_all_shards(folder, chosen)
    say(f"{folder}: {len(chosen)} files of rows: {_listed(folder, chosen)}")
    _log_passed_over(folder, [path for path in every if path not in set(chosen)], readable=(*suffixes, *_TEXTS))
    return chosen


def _is_of_data_set(path: Path) -> bool:
    """Whether a file of rows is one of a data set whatever lies beside it: a typed table, or named after a split."""
    return suffix_of(path) in _TYPED or _split_of(Path(path.name)) is not None


def _of_split(folder: Path, rows: list[Path], split: str) -> list[Path]:
    by_split: dict[str | None, list[Path]] = {}
    for path in rows:
        by_split.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if set(by_split) == {None}:
        return rows
    wanted = next((name for name, words in _SPLITS.items() if split in words), split)
    if wanted not in by_split:
        found = ", ".join(sorted(name for name in by_split if name))
        raise UserError(f"{folder} has no split {split!r} (it has: {found}). Name one: rt data prepare --split")
    return by_split[wanted]


def _split_of(path: Path) -> str | None:
    """The split that a path names in a word of it, the file's own name first."""
    for part in reversed(path.parts):
        words = re.split(r"[^a-z]+", part.lower())
        for split, names in _SPLITS.items():
            if any(name in words for name in names):
                return split
    return None


def _require_all_shards(folder: Path, paths: list[Path]) -> None:
    shards: Counter[tuple[str, int]] = Counter()
    for path in paths:
        if match := _SHARD.match(path.name):
            shards[f"{path.parent}/{match[1]}", int(match[3])] += 1
    for (_, whole), found in shards.items():
        if found < whole:
            raise UserError(f"{folder} holds {found} of {whole} shards. Download the others, or name single files.")


def _log_passed_over(folder: Path, paths: list[Path], *, readable: tuple[str, ...]) -> None:
    """Log what is not read, and the command for one file of it whose suffix is ``readable``, of rows before texts."""
    if not paths:
        return
    by_suffix = sorted(
        (path for path in paths if suffix_of(path) in readable), key=lambda path: suffix_of(path) in _TEXTS
    )
    advice = f" To read one: {command('data', 'prepare', str(by_suffix[0]))}" if by_suffix else ""
    say(f"{folder}: passed over: {_listed(folder, paths)}.{advice}")


def _listed(folder: Path, paths: list[Path]) -> str:
    names = ", ".join(path.relative_to(folder).as_posix() for path in paths[:_NAMES_SHOWN])
    return f"{names} and {len(paths) - _NAMES_SHOWN:,} more" if len(paths) > _NAMES_SHOWN else names
