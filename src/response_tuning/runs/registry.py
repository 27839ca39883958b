"""The kinds of run, and which of them a spec is: read by ``load_run``.

A package adds a kind with an entry point of the group ``response_tuning.runs`` whose value is a ``RunKind``:

    [project.entry-points."response_tuning.runs"]
    echo = "my_package.echo:ECHO"

A test or a script calls ``register_kind``. Kinds that were added are asked first, the newest before the others; the
trained run is last, since it takes every model that can be loaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from response_tuning.support.options import Device, Dtype, FormatName

if TYPE_CHECKING:
    from response_tuning.runs.contract import Run

__all__ = ["ENTRY_POINTS", "RunKind", "kind_of", "register_kind", "run_kinds"]

ENTRY_POINTS = "response_tuning.runs"
"""The group of entry points."""


class Load(Protocol):
    """Loads a run of a kind."""

    def __call__(self, spec: str, *, format: FormatName | Literal["auto"], dtype: Dtype, device: Device) -> "Run":  # noqa: A002
        """Raises UserError where the run cannot be loaded."""
        ...


@dataclass(frozen=True)
class RunKind:
    """A kind of run: what its folder looks like, and how it is loaded."""

    name: str
    """Such as ``trained``."""
    recognises: Callable[[Path], bool]
    """Whether a path, which need not exist, is a run of this kind: by its files, never by its name."""
    load: Load


_added: list[RunKind] = []


def register_kind(kind: RunKind) -> None:
    """Add a kind of run in this process. Replaces an added kind of the same name."""
    _added[:] = [kind, *(other for other in _added if other.name != kind.name)]


def run_kinds() -> tuple[RunKind, ...]:
    """Every kind, in the order in which they are asked."""
    return (*_added, *_installed(), _TRAINED)


def kind_of(spec: str) -> RunKind:
    """The kind of run that a local model spec names."""
    return next(kind for kind in run_kinds() if kind.recognises(Path(spec)))


@cache
def _installed() -> tuple[RunKind, ...]:
    return tuple(point.load() for point in entry_points(group=ENTRY_POINTS))


def _load_trained(spec: str, *, format: FormatName | Literal["auto"], dtype: Dtype, device: Device) -> "Run":  # noqa: A002
    from response_tuning.runs.trained import load_trained

    return load_trained(spec, format=format, dtype=dtype, device=device)


_TRAINED = RunKind("trained", recognises=lambda _: True, load=_load_trained)
