"""Layouts that a user names: ``rt data prepare --layout``. Which layouts there are, ``layouts`` recognises.

A named layout decides what recognition leaves open: of a row that could be read in two ways, the fields of other
layouts are left aside (kept in the example, and named with a count), and a row without the layout's own fields is bad.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from response_tuning.data.sources.layouts import recognise, with_others
from response_tuning.data.sources.usage import Usage

__all__ = ["LAYOUTS", "Layout", "recognise_as"]

Layout = Literal["auto", "sharegpt", "alpaca", "openai", "trl", "preference"]
"""auto: recognise the layout of each row."""

_SYSTEM = frozenset({"system", "system_prompt"})


@dataclass(frozen=True)
class _NamedLayout:
    """The fields of a layout."""

    needs: tuple[tuple[str, ...], ...]
    """Alternatives: all fields of one of them have to be there. The first of which this is true is read."""
    fields: frozenset[str]
    """Further fields that mean something in this layout."""

    @property
    def all_fields(self) -> frozenset[str]:
        return self.fields.union(*self.needs)


LAYOUTS: dict[str, _NamedLayout] = {
    "sharegpt": _NamedLayout((("conversations",), ("conversation",)), _SYSTEM | {"tools", "chosen", "rejected"}),
    "alpaca": _NamedLayout((("instruction", "output"),), _SYSTEM | {"input", "context", "history"}),
    "openai": _NamedLayout(
        (("messages",), ("input", "preferred_output"), ("request", "response"), ("response",), ("choices",)),
        frozenset({"tools", "functions", "parallel_tool_calls", "non_preferred_output", "custom_id", "error", "id"}),
    ),
    "trl": _NamedLayout((("completion",), ("chosen", "rejected"), ("messages",)), _SYSTEM | {"prompt", "label"}),
    "preference": _NamedLayout(
        (("chosen", "rejected"), ("input", "preferred_output")),
        _SYSTEM | {"prompt", "instruction", "question", "input", "history", "conversations", "non_preferred_output"},
    ),
}
"""By their names, which are those of the tools that they come from."""

_OF_ANY = frozenset(
    {"data", "contents", "dialogue", "dialog", "chat", "turns", "query", "earlier_turns", "kto_tag"}
).union(*(layout.all_fields for layout in LAYOUTS.values()))

assert set(LAYOUTS) == set(get_args(Layout)) - {"auto"}


def recognise_as(row: dict[str, Any], layout: Layout, usage: Usage) -> list[dict[str, Any]] | None:
    """The examples of a row, as ``layouts.recognise``, in the layout that was asked for.

    Raises:
        ValueError: the row does not have the layout's fields, or they cannot be used.
    """
    if layout == "auto":
        return recognise(row, usage)
    named = LAYOUTS[layout]
    needed = next((names for names in named.needs if all(row.get(name) is not None for name in names)), None)
    if needed is None:
        wanted = " or ".join(" and ".join(map(repr, names)) for names in named.needs)
        raise ValueError(
            f"is not in the layout {layout}, which has {wanted} (it has: {', '.join(row) or 'none'}). "
            "Leave --layout out to recognise each row."
        )
    fields = named.fields.union(needed)
    if not isinstance(row.get("chosen"), dict) and "conversations" not in needed:
        fields -= {"conversations"}  # only LLaMA-Factory's preferences, single messages, have one before them
    aside = {name: value for name, value in row.items() if name in _OF_ANY - fields}
    examples = recognise({name: value for name, value in row.items() if name not in aside}, usage)
    return None if examples is None else with_others(examples, aside, (), usage)
