"""The registry of evaluations: those of this package, registered ones, and those of installed packages.

An evaluation of this package has a folder with everything of its own (``NAME_config.py``, what it measures, its table,
its prompts), an entry there (``NAME_entry.py``), and its name in the last lines of this module. Another package adds
its evaluations by entry points::

    [project.entry-points."response_tuning.evaluations"]
    shouting = "my_package.shouting:SHOUTING"
"""

from typing import Any

from response_tuning.evaluation.alpaca.alpaca_entry import ALPACA
from response_tuning.evaluation.capabilities.capabilities_entry import CAPABILITIES
from response_tuning.evaluation.checklist.checklist_entry import CHECKLIST
from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.ifeval.ifeval_entry import IFEVAL
from response_tuning.evaluation.infobench.infobench_entry import INFOBENCH
from response_tuning.evaluation.just.just_entry import JUST
from response_tuning.evaluation.mt_bench.mt_bench_entry import MT_BENCH
from response_tuning.evaluation.probe.probe_entry import PROBE
from response_tuning.evaluation.refusals.refusals_entry import REFUSALS
from response_tuning.evaluation.rules.rules_entry import RULES
from response_tuning.evaluation.selective.selective_entry import SELECTIVE
from response_tuning.support.errors import UserError
from response_tuning.support.plugins import offered

__all__ = ["ENTRY_POINTS", "evaluations", "find_evaluation", "register"]

ENTRY_POINTS = "response_tuning.evaluations"
"""The group of entry points that name an ``Evaluation``."""

_RESERVED = frozenset({"all", "agreement"})
"""Commands of ``rt eval`` that are no evaluations."""

_registered: dict[str, Evaluation[Any, Any]] = {}


def evaluations() -> dict[str, Evaluation[Any, Any]]:
    """Every evaluation by name, in the order in which ``rt eval all`` runs them."""
    offered(ENTRY_POINTS, register)
    return dict(_registered)


def find_evaluation(name: str) -> Evaluation[Any, Any]:
    """The evaluation of this name.

    Raises:
        UserError: there is none.
    """
    known = evaluations()
    if name not in known:
        raise UserError(f"There is no evaluation {name!r}. Choose one of {', '.join(known)}.")
    return known[name]


def register(evaluation: Evaluation[Any, Any]) -> None:
    """Add an evaluation.

    Raises:
        ValueError: its name is taken by another one, or its options have no ``model``.
    """
    name = evaluation.name
    if name in _RESERVED or _registered.get(name, evaluation) != evaluation:
        raise ValueError(f"there is already a command rt eval {name}")
    if "model" not in evaluation.config.model_fields:
        raise ValueError(f"{evaluation.config.__name__}, the options of {name}, have no field 'model'")
    _registered[name] = evaluation


_OURS = (PROBE, IFEVAL, CAPABILITIES, REFUSALS, SELECTIVE, ALPACA, JUST, MT_BENCH, INFOBENCH, CHECKLIST, RULES)
for _evaluation in _OURS:
    register(_evaluation)
