"""Load runs to be served side by side: those that adapt the same base model share its weights in memory."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict

from response_tuning.inference.responder import Responder
from response_tuning.models.adapter import adapter_folder, base_of_adapter, base_record, recorded_base
from response_tuning.models.load import load_base_of, load_tokenizer, sharing_weights, weights_identity
from response_tuning.models.spec import parse_spec
from response_tuning.models.switching import SwitchableModel
from response_tuning.runs.load import load_responder
from response_tuning.runs.registry import kind_of
from response_tuning.runs.trained import conversation_of
from response_tuning.serving.served_run import ServedRun
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName

__all__ = ["Witness", "load_served", "named_runs"]

Witness = Callable[[str, Responder], None]
"""Called with a name and that run as every other command loads it: without an adapter beside it, or merged."""

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
    """Load runs of any kind by name, each model that several of them are made from once.

    Args:
        runs: model specs by name.
        format_name: the chat format; "auto" as in ``runs.formats.resolve_format``.
        dtype: of the weights.
        device: where to load them.
        witness: sees each run before adapters share its weights, one after another.

    Raises:
        UserError: one of them cannot be loaded.
    """
    options: _Options = {"format_name": format_name, "dtype": dtype, "device": device}
    adapters = {name: folder for name, spec in runs.items() if (folder := adapter_folder(spec)) is not None}
    alone = _adapters_alone(runs, adapters)
    responders: dict[str, Responder] = {}
    if witness is not None:
        for name in adapters.keys() - alone:
            witness(name, load_responder(runs[name], **options))  # merged, and let go again
    with sharing_weights():
        for name, spec in runs.items():
            if name in adapters and name not in alone:
                responders[name] = _beside_its_base(spec, adapters[name], **options)
            else:
                responders[name] = load_responder(spec, **options, purpose="Serving")
                if witness is not None:
                    witness(name, responders[name])
    beside = {name: folder for name, folder in adapters.items() if name not in alone}
    return _with_switches(runs, responders, beside)


class _Options(TypedDict):
    format_name: FormatName | Literal["auto"]
    dtype: Dtype
    device: Device


def _adapters_alone(runs: Mapping[str, str], adapters: Mapping[str, Path]) -> set[str]:
    """The adapters whose base model no other run here is made from: they are merged, which is faster."""
    identities = {name: _identity(spec, adapters.get(name)) for name, spec in runs.items()}
    counts = Counter(identities.values())
    return {name for name in adapters if counts[identities[name]] == 1}


def _identity(spec: str, adapter: Path | None) -> tuple[str, str | None]:
    """What runs that are made from the same weights have in common."""
    if adapter is not None:
        return weights_identity(base_of_adapter(adapter))
    if kind_of(spec) is None:
        return weights_identity(spec)
    folder = Path(spec)
    return weights_identity(recorded_base(folder)) if base_record(folder) else (spec, None)


def _beside_its_base(
    spec: str, adapter: Path, *, format_name: FormatName | Literal["auto"], dtype: Dtype, device: Device
) -> Responder:
    """A run with an adapter that is not merged: its base model, asked as the run is."""
    base = load_base_of(adapter, dtype=dtype, device=device)
    tokenizer = load_tokenizer(spec)
    return Responder(replace(base, tokenizer=tokenizer), conversation_of(spec, format_name, tokenizer))


def _with_switches(
    runs: Mapping[str, str], responders: Mapping[str, Responder], adapters: Mapping[str, Path]
) -> list[ServedRun]:
    """Put adapters beside the weights that their runs share."""
    sharing: dict[int, list[str]] = defaultdict(list)
    for name, responder in responders.items():
        sharing[id(responder.loaded.model)].append(name)
    served: dict[str, ServedRun] = {}
    for names in sharing.values():
        ids = {name: f"run{place}" for place, name in enumerate(names) if name in adapters}
        loaded = responders[names[0]].loaded
        weights = SwitchableModel(loaded, {ids[name]: adapters[name] for name in ids})
        for name in names:
            served[name] = ServedRun(name, runs[name], responders[name], weights, ids.get(name))
    return [served[name] for name in runs]


def _shortest_name(spec: str, others: Sequence[str]) -> str:
    """The last part of a path, with as many before it as tell it from the others'."""
    parsed = parse_spec(spec)
    parts = Path(parsed.name).parts if parsed.path is not None else tuple(parsed.name.split("/"))
    ends = {tuple(Path(other).parts) for other in others}
    for count in range(1, len(parts)):
        if not any(end[-count:] == parts[-count:] for end in ends):
            return "/".join(parts[-count:])
    return "/".join(parts)
