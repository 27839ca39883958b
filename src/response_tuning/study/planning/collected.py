"""The stages of a study while they are collected, each once, and the faults that were found on the way."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from response_tuning.study.definition.yaml_lines import Fault
from response_tuning.study.planning.content import key_of
from response_tuning.study.planning.plan import STUDY, Stage, StageKind

__all__ = ["Collected", "slug"]

_SLUG_CHARACTERS = 48
_KEY_IN_NAMES = 8


def slug(*parts: Any) -> str:
    """Parts as a name for a file: letters, digits and hyphens."""
    words = [re.sub(r"[^A-Za-z0-9.]+", "-", Path(str(part)).name).strip("-.") for part in parts if part is not None]
    return "-".join(word for word in words if word)[:_SLUG_CHARACTERS].strip("-.")


@dataclass
class Collected:
    """Stages by key, in an order in which each comes after what it needs."""

    stages: dict[str, Stage] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def add(
        self,
        kind: StageKind,
        folder: str,
        name: str,
        words: Sequence[str],
        *,
        content: Any,
        needs: Sequence[str] = (),
        mark: str | None = None,
        suffix: str = "",
        proofs: Sequence[str] = ("",),
        gpus: int = 0,
        training: Mapping[str, Any] | None = None,
    ) -> Stage:
        """Add a stage, or find it by its content.

        Args:
            kind: what it makes.
            folder: where in the study's folder its result lies.
            name: of its result, without the key.
            words: the command, without ``--output``.
            content: what its result depends on, beside the stages that it needs.
            needs: keys of stages.
            mark: what follows the name. Defaults to the beginning of the key.
            suffix: of a result that is a file.
            proofs: paths below its result, one of which exists once it has finished.
            gpus: how many it computes on.
            training: the options of a training.
        """
        key = key_of({"kind": kind, "content": content, "needs": list(needs)})
        if key not in self.stages:
            ending = key[:_KEY_IN_NAMES] if mark is None else mark
            place = f"{folder}/{'-'.join(part for part in (name, ending) if part)}{suffix}"
            self.stages[key] = Stage(
                key=key,
                kind=kind,
                name=place,
                words=[*words, "--output", f"{STUDY}/{place}"],
                needs=list(dict.fromkeys(needs)),
                proof=[f"{place}/{proof}".rstrip("/") for proof in proofs],
                gpus=gpus,
                training=dict(training or {}),
            )
        return self.stages[key]

    def fault(self, place: Sequence[str | int], reason: object) -> None:
        """Note something wrong in the study file, once."""
        found = Fault(tuple(place), str(reason))
        if found not in self.faults:
            self.faults.append(found)


@dataclass(frozen=True)
class Made:
    """What a stage reads: a spec for the command line, what it depends on, and the stages that make it."""

    spec: str
    content: Mapping[str, Any] | str
    needs: tuple[str, ...] = ()
