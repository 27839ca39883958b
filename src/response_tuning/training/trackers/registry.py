"""The trackers by name, as ``--tracker`` takes them.

Another package adds its own by an entry point of the group ``response_tuning.trackers``, whose name is the tracker's
and whose value is a ``TrackerKind``.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from response_tuning.support.extras import require_extra
from response_tuning.support.plugins import offered

if TYPE_CHECKING:
    from response_tuning.training.trackers.contract import TrackerKind

__all__ = ["GROUP", "find_tracker", "require_tracker", "tracker_names", "unknown_tracker"]

GROUP = "response_tuning.trackers"

_MODULE = "response_tuning.training.trackers.accelerate_trackers"
_KINDS: dict[str, Any] = {name: f"{_MODULE}:{name.upper()}" for name in ("tensorboard", "trackio", "mlflow", "wandb")}
"""Named, not imported: the command line asks for names alone."""


def tracker_names() -> list[str]:
    """The names of all trackers."""
    return [*_kinds()]


def find_tracker(name: str) -> "TrackerKind":
    """The tracker of this name, which has to be one of ``tracker_names``."""
    kind = _kinds()[name]
    found: TrackerKind = resolve_name(kind) if isinstance(kind, str) else kind
    return found


def require_tracker(name: str) -> None:
    """Validate that the package of a tracker is installed.

    Raises:
        UserError: it is not.
    """
    if name != "none":
        require_extra(find_tracker(name).package, name, purpose=f"--tracker {name}")


def unknown_tracker(name: str) -> str:
    """That there is no such tracker, and which ones there are."""
    return f"There is no tracker {name!r}. There are none, {', '.join(tracker_names())}."


def _kinds() -> dict[str, Any]:
    return {**offered(GROUP), **_KINDS}
