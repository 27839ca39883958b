"""The objectives by name, as ``--objective`` takes them.

Another package adds its own by a call of ``register``, or by an entry point of the group
``response_tuning.objectives``, whose name is the objective's and whose value makes one from a configuration. Processes
that ``--gpus`` or ``--processes`` starts find only entry points.
"""

from collections.abc import Callable
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from response_tuning.support.errors import UserError
from response_tuning.support.plugins import offered

if TYPE_CHECKING:  # the command line asks for names without loading torch
    from response_tuning.training.objectives.contract import Objective

__all__ = ["make_objective", "objective_names", "register", "unknown_objective"]

GROUP = "response_tuning.objectives"

Maker = Callable[[Any], "Objective"]
"""Makes an objective from a ``TrainingConfig``."""


_MAKERS: dict[str, Maker | str] = {
    # Named, not imported: a configuration asks for the names, and an objective reads a configuration.
    "supervised": "response_tuning.training.objectives.supervised:make_supervised",
    "sftmix": "response_tuning.training.objectives.sftmix.objective:Sftmix",
    "preference": "response_tuning.training.objectives.preference.objective:make_preference",
    "self-judge": "response_tuning.training.objectives.self_judge:SelfJudge",
}


def register(name: str, make: Maker) -> None:
    """Add an objective, in this process, under a name that ``--objective`` then takes."""
    _MAKERS[name] = make


def objective_names() -> list[str]:
    """The names of all objectives."""
    return [*_makers()]


def _makers() -> dict[str, Maker | str]:
    return _MAKERS | {name: make for name, make in offered(GROUP).items() if name not in _MAKERS}


def make_objective(config: Any) -> "Objective":
    """The objective of a ``TrainingConfig``. "auto" is the one whose options are given, else supervised tokens.

    Raises:
        UserError: there is no such objective.
    """
    name = config.objective
    if name == "auto":
        name = _asked_for(config)
    make = _makers().get(name)
    if make is None:
        raise UserError(unknown_objective(name))
    made: Objective = (resolve_name(make) if isinstance(make, str) else make)(config)
    return made


def _asked_for(config: Any) -> str:
    if config.sftmix.sftmix_from:
        return "sftmix"
    return "supervised" if config.preference.preference_loss == "none" else "preference"


def unknown_objective(name: str) -> str:
    """That there is no such objective, and which ones there are."""
    return f"There is no objective {name!r}. There are {', '.join(objective_names())}."
