"""Load runs to be served side by side: those that adapt the same base model share its weights in memory."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from response_tuning.conversation import Conversation
from response_tuning.models.adapter import adapter_folder, base_of_adapter
from response_tuning.models.load import (
    LoadedModel,
    load_base_of,
    load_model,
    load_tokenizer,
    require_same_base,
    resolve_model,
)
from response_tuning.models.spec import parse_spec, require_local
from response_tuning.models.switching import SwitchableModel
from response_tuning.runs.load import conversation_of, load_with_conversation
from response_tuning.serving.served_run import ServedRun
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["Witness", "load_served", "named_runs"]

Witness = Callable[[str, LoadedModel, Conversation], None]
"""Called with a name and that run as every other command loads it: alone, and merged."""

_NAMED = re.compile(r"(?P<name>[\w.-]+)=(?P<spec>.+)", re.DOTALL)


def named_runs(arguments: Sequence[str]) -> dict[str, str]:
    """Model specs by the names that clients use: ``NAME=RUN``, or as much of the end of the path as is needed.

    Raises:
        UserError: none is given, or two have one name.
    """
    if not arguments:
        raise UserError("Name at least one run to serve.")
    names: dict[str, str] = {}
    matches = [None if Path(argument).exists() else _NAMED.fullmatch(argument) for argument in arguments]
    unnamed = [argument for argument, match in zip(arguments, matches, strict=True) if match is None]
    for argument, match in zip(arguments, matches, strict=True):
        spec = match["spec"] if match else argument
        name = match["name"] if match else _shortest_name(spec, [other for other in unnamed if other != spec])
        if name in names:
            raise UserError(f"Two runs are called {name!r}. Give one of them a name: NAME={spec}.")
        names[name] = spec
    return names


def load_served(
    runs: Mapping[str, str],
    *,
    format_name: FormatName | Literal["auto"] = "auto",
    dtype: Dtype = "auto",
    device: Device = "auto",
    witness: Witness | None = None,
) -> list[ServedRun]:
    """Load runs by name, each base model once.

    Args:
        runs: model specs by name.
        format_name: the chat format; "auto" as in ``runs.load.resolve_format``.
        dtype: of the weights.
        device: where to load them.
        witness: sees each run before it shares its weights, one after another, so that no two are in memory for it.

    Raises:
        UserError: one of them cannot be loaded.
    """
    members = [_Member(name, spec, adapter_folder(spec)) for name, spec in runs.items()]
    groups: dict[tuple[str, str | None], list[_Member]] = defaultdict(list)
    for member in members:
        groups[_identity(member.base)].append(member)
    loader = _Loader(format_name, dtype, device, witness)
    served = {run.name: run for group in groups.values() for run in loader.load(group)}
    return [served[name] for name in runs]


@dataclass(frozen=True)
class _Member:
    name: str
    spec: str
    adapter: Path | None

    @property
    def base(self) -> str:
        """The spec of the weights that may be shared."""
        return self.spec if self.adapter is None else base_of_adapter(self.adapter)


@dataclass(frozen=True)
class _Loader:
    format_name: FormatName | Literal["auto"]
    dtype: Dtype
    device: Device
    witness: Witness | None

    def load(self, group: Sequence[_Member]) -> list[ServedRun]:
        """The runs of one base model."""
        if len(group) == 1:
            (member,) = group
            loaded, conversation = self._alone(member)
            return [ServedRun(member.name, member.spec, SwitchableModel(loaded, {}), None, conversation)]
        if self.witness is not None:
            for member in group:
                if member.adapter is not None:
                    self._alone(member)
        base = self._base(group)
        ids = {member.name: f"run{place}" for place, member in enumerate(group) if member.adapter is not None}
        conversations = {member.name: self._conversation(member, base) for member in group}
        for member in group:
            if member.adapter is None and self.witness is not None:
                self.witness(member.name, base, conversations[member.name])
        weights = SwitchableModel(base, {ids[member.name]: member.adapter for member in group if member.adapter})
        return [
            ServedRun(member.name, member.spec, weights, ids.get(member.name), conversations[member.name])
            for member in group
        ]

    def _alone(self, member: _Member) -> tuple[LoadedModel, Conversation]:
        loaded, conversation = load_with_conversation(
            member.spec, self.format_name, dtype=self.dtype, device=self.device
        )
        if self.witness is not None:
            self.witness(member.name, loaded, conversation)
        return loaded, conversation

    def _base(self, group: Sequence[_Member]) -> LoadedModel:
        adapters = [member.adapter for member in group if member.adapter is not None]
        if adapters:
            base = load_base_of(adapters[0], dtype=self.dtype, device=self.device)
        else:
            base = load_model(group[0].spec, dtype=self.dtype, device=self.device)
        for adapter in adapters[1:]:
            require_same_base(adapter, base)
        return base

    def _conversation(self, member: _Member, base: LoadedModel) -> Conversation:
        tokenizer = base.tokenizer if member.adapter is None else load_tokenizer(member.spec)
        return conversation_of(member.spec, self.format_name, tokenizer)


def _identity(spec: str) -> tuple[str, str | None]:
    """What two specs of the same weights have in common."""
    adapter = adapter_folder(spec)
    if adapter is not None:
        return str(adapter.resolve()), None
    place = resolve_model(spec)
    return (str(Path(place).resolve()) if Path(place).exists() else place), require_local(spec).revision


def _shortest_name(spec: str, others: Sequence[str]) -> str:
    """The last part of a path, with as many before it as tell it from the others'."""
    parsed = parse_spec(spec)
    parts = Path(parsed.name).parts if parsed.path is not None else tuple(parsed.name.split("/"))
    ends = {tuple(Path(other).parts) for other in others}
    for count in range(1, len(parts)):
        if not any(end[-count:] == parts[-count:] for end in ends):
            return "/".join(parts[-count:])
    return "/".join(parts)
