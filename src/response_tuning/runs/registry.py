"""The kinds of run beside the trained one, and which of them a spec names: read by ``load_run``.

A package adds a kind with an entry point of the group ``response_tuning.runs`` whose value is a ``RunKind``:

    [project.entry-points."response_tuning.runs"]
    echo = "my_package.echo:ECHO"

A test or a script calls ``register_kind``. Kinds are asked in turn, the latest registered first. A spec that no kind
recognises is a model in this process: a trained run, a kept checkpoint or a base model (``runs.trained``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from response_tuning.support.options import Device, Dtype, FormatName
from response_tuning.support.plugins import offered

if TYPE_CHECKING:
    from response_tuning.runs.contract import Run

__all__ = ["ENTRY_POINTS", "RunKind", "kind_of", "register_kind", "run_kinds"]

ENTRY_POINTS = "response_tuning.runs"
"""The group of entry points."""
_OWN = ("response_tuning.runs.in_context.kind:IN_CONTEXT", "response_tuning.runs.rules.kind:RULES")
"""The kinds of this package, named as entry points are: each module imports this one."""


class Load(Protocol):
    """Loads a run of a kind."""

    def __call__(self, spec: str, *, format: FormatName | Literal["auto"], dtype: Dtype, device: Device) -> "Run":  # noqa: A002
        """Raises UserError where the run cannot be loaded."""
        ...


@dataclass(frozen=True)
class RunKind:
    """A kind of run: what its folder looks like, and how it is loaded."""

    name: str
    """Such as ``in_context``."""
    recognises: Callable[[Path], bool]
    """Whether a path, which need not exist, is a run of this kind: by its files, never by its name."""
    load: Load
    why_not_exported: str = "It has no weights of its own."
    """Why ``rt export`` cannot write a run of this kind, and what to do instead; in whole sentences."""


_added: list[RunKind] = []


def register_kind(kind: RunKind) -> None:
    """Add a kind of run in this process. Replaces an added kind of the same name."""
    _added[:] = [kind, *(other for other in _added if other.name != kind.name)]


def run_kinds() -> tuple[RunKind, ...]:
    """Every registered kind, in the order in which they are asked."""
    return (*_added, *map(_imported, _OWN), *offered(ENTRY_POINTS).values())


def _imported(name: str) -> RunKind:
    module, _, attribute = name.partition(":")
    kind = getattr(import_module(module), attribute)
    assert isinstance(kind, RunKind)
    return kind


def kind_of(spec: str) -> RunKind | None:
    """The registered kind of run that a local model spec names; None of a trained run or another model."""
    return next((kind for kind in run_kinds() if kind.recognises(Path(spec))), None)
