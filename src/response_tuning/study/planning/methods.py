"""How a model is made to answer: the methods of a study, each as the ``rt`` command that makes its run.

A package adds a method with an entry point of the group ``response_tuning.study_methods`` whose value is a
``StudyMethod``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from response_tuning.support.plugins import offered

__all__ = ["ENTRY_POINTS", "StudyMethod", "study_methods"]

ENTRY_POINTS = "response_tuning.study_methods"
"""The group of entry points."""

_OF_EVERY_METHOD = frozenset({"model", "method"})
_OF_RT_ALONE = frozenset({"instructions", "prefix"})


@dataclass(frozen=True, kw_only=True)
class StudyMethod:
    """A method: what it depends on, and the command that makes its run.

    The smallest one, whose run is what ``rt in-context MODEL --style pairs --output RUN`` writes::

        StudyMethod(name="pairs", help="pairs in context", command="in-context", options={"style": "pairs"})
    """

    name: str
    """As the axis ``method`` has it."""
    help: str
    """A line for ``rt study methods``."""
    command: str = ""
    """The command that makes the run: ``rt COMMAND MODEL --output RUN``, or ``train``. Empty: the model is asked as it
    is."""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """The options of the command."""
    takes_format: bool = True
    """Whether the axis ``format`` makes a difference to it."""
    needs: Literal["", "sftmix"] = ""
    """sftmix: it first trains a reference that keeps adapters, which tells which examples are learned easily."""

    @property
    def is_trained(self) -> bool:
        """Whether it has seeds, data and training options."""
        return self.command == "train"

    def has(self, axis: str) -> bool:
        """Whether an axis makes a difference to it."""
        if axis == "format":
            return self.takes_format
        if not self.is_trained:
            return axis in _OF_EVERY_METHOD
        return axis not in _OF_RT_ALONE or self.options.get("method") == "rt"


_METHODS = (
    StudyMethod(name="base", help="the base model, as it is"),
    StudyMethod(name="rt", help="response tuning", command="train", options={"method": "rt"}),
    StudyMethod(name="it", help="instruction tuning", command="train", options={"method": "it"}),
    StudyMethod(
        name="sftmix",
        help="instruction tuning on mixtures of easily and hardly learned examples (SFTMix)",
        command="train",
        options={"method": "it"},
        needs="sftmix",
    ),
    *(
        StudyMethod(
            name=f"in-context {style}",
            help=what,
            command="in-context",
            options={"style": style},
            takes_format=False,  # its prompt is a document, not a dialogue
        )
        for style, what in (
            ("response", "demonstrations of responses alone in the prompt (URIAL-R)"),
            ("pairs", "demonstrations of pairs in the prompt (URIAL)"),
            ("zero-shot", "the prompt of the demonstrations without any of them"),
        )
    ),
    StudyMethod(name="rules", help="the rule-based adapter of Hewitt et al.", command="rules"),
    *(
        StudyMethod(
            name=f"rules without {left_out}",
            help=f"the rule-based adapter without the rule {left_out}",
            command="rules",
            options={"without": left_out},
        )
        for left_out in ("eos", "pieces", "diversity")
    ),
)


def study_methods() -> dict[str, StudyMethod]:
    """Every method by its name, those of installed packages last."""
    return {method.name: method for method in (*_METHODS, *offered(ENTRY_POINTS).values())}
