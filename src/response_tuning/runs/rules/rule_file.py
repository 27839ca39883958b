"""The rules of a run by rules: what each kind of rule does, the published ones, and the file ``rules.yaml``.

The rules and their numbers are those of Hewitt et al. 2024 (arXiv 2409.14254, section 6 and Table 8; where table and
code differ, of their code, whose results the paper reports).
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints, TypeAdapter

from response_tuning.support.errors import UserError
from response_tuning.support.files import write_text
from response_tuning.support.yaml_file import read_yaml

__all__ = [
    "PUBLISHED",
    "DiversityRule",
    "EosRule",
    "PiecesRule",
    "Rule",
    "Rules",
    "Since",
    "read_rules",
    "rules_text",
    "select_rules",
    "write_rules",
]

Since = Literal["instruction", "response"]
"""Where a text begins in which tokens count as having occurred."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EosRule(_Strict):
    """A weight on every stop token that grows with the response: ``weight * n / tokens`` after ``n`` tokens."""

    kind: Literal["eos"] = "eos"
    weight: FiniteFloat = 15.0
    """What the weight grows to [nats]."""
    tokens: int = Field(default=250, ge=1)
    """The number of response tokens after which it has grown."""
    afterwards: FiniteFloat = 15.0
    """The weight from then on. The authors' code has 0 there, which they call a bug: all of their responses had ended
    by then, so that it changed none of them."""


class PiecesRule(_Strict):
    """A constant weight on tokens, which are named by their texts."""

    kind: Literal["pieces"] = "pieces"
    weights: dict[Annotated[str, StringConstraints(min_length=1)], FiniteFloat] = Field(default_factory=dict)
    """The weight [nats] of every token whose text is exactly this one, spaces included."""
    marks: FiniteFloat | None = None
    """The weight of the tokens with which the tags of the run's chat format begin; None for no such weight."""
    first_tokens: int | None = Field(default=None, ge=1)
    """Add the weights to the first tokens of the response only; None for all of it."""


class DiversityRule(_Strict):
    """A weight on every token that has occurred, once however often it did. Stop tokens are exempt."""

    kind: Literal["diversity"] = "diversity"
    weight: FiniteFloat = -1.5
    """The weight [nats]."""
    since: Since = "instruction"
    """Where counting begins: with the instruction, as in the authors' code, or with the response, as in their table."""


Rule = Annotated[EosRule | PiecesRule | DiversityRule, Field(discriminator="kind")]
Rules = Mapping[str, EosRule | PiecesRule | DiversityRule]
"""Rules by name, in the order in which they are written; their weights are added up, so it does not matter."""

PUBLISHED: Rules = {
    "eos": EosRule(),
    "pieces": PiecesRule(
        marks=-4.0,
        weights={
            " I": -5.0,
            "I": -5.0,
            " We": -3.0,
            "What": -5.0,
            " should": -6.0,
            " *": 1.0,
            " -": 1.0,
            "   ": 1.0,
            " #": 1.0,
            " ##": 1.0,
            "\n": 1.0,
            "!": 1.0,
        },
    ),
    "diversity": DiversityRule(),
}
"""The three rules of the paper. The three negative format marks of its fifteen pieces are ``marks``."""

_ADAPTER: TypeAdapter[dict[str, Rule]] = TypeAdapter(
    Annotated[
        dict[Annotated[str, StringConstraints(pattern=r"^[\w-]+$")], Rule],
        Field(min_length=1),
    ]
)

_HEADER = """\
# The rules that this run answers by. Each adds a weight [nats] to the logits of some tokens; weights add up.
# Edit the numbers, remove a rule, or add one under a name of its own: `kind` says what it does.
# Numbers: Hewitt et al. 2024, arXiv 2409.14254, section 6 and Table 8, and the authors' code.
"""
_COMMENTS = {
    "eos": """\
# kind eos: the weight of every stop token after n tokens of the response is weight * n / tokens,
# and `afterwards` from n = tokens on.
""",
    "pieces": """\
# kind pieces: a constant weight for every token whose text is exactly the one given, spaces included.
# `marks` is the weight of the tokens with which the tags of the chat format begin.
# `first_tokens: 1` would add the weights to the first token of the response only; null adds them to all.
""",
    "diversity": """\
# kind diversity: the weight of every token that has occurred since the instruction began, or since the response
# did (`since: response`). Stop tokens are exempt.
""",
}


def read_rules(path: Path) -> dict[str, EosRule | PiecesRule | DiversityRule]:
    """The rules of a file such as ``rules.yaml``, by name.

    Raises:
        UserError: there is no such file, or a rule in it is not valid; names file, line and field.
    """
    return read_yaml(path, _ADAPTER)


def write_rules(path: Path, rules: Rules) -> None:
    """Write rules with comments that say what each kind does; ``read_rules`` reads them back."""
    write_text(path, rules_text(rules))


def rules_text(rules: Rules) -> str:
    """Rules as the text of a YAML file."""
    parts, explained = [_HEADER], set[str]()
    for name, rule in rules.items():
        parts.append("\n" + ("" if rule.kind in explained else _COMMENTS[rule.kind]) + f"{name}:\n")
        explained.add(rule.kind)
        for field, value in rule.model_dump().items():
            if isinstance(value, dict):
                # A JSON string is a YAML string, and shows spaces and line breaks.
                lines = [f"    {json.dumps(text, ensure_ascii=False)}: {weight}\n" for text, weight in value.items()]
                parts.append(f"  {field}:\n" + "".join(lines) if lines else f"  {field}: {{}}\n")
            else:
                parts.append(f"  {field}: {'null' if value is None else value}\n")
    return "".join(parts)


def select_rules(rules: Rules, *, only: Iterable[str] | None, without: Iterable[str]) -> Rules:
    """The rules of the names ``only``, by default all, less those of the names ``without``.

    Raises:
        UserError: there is no rule of some name, or no rule is left.
    """
    named = [*(only or ()), *without]
    for name in named:
        if name not in rules:
            raise UserError(f"There is no rule {name!r}. The rules are {', '.join(rules)}.")
    left_out = set(without)
    selected = {
        name: rule for name, rule in rules.items() if (only is None or name in set(only)) and name not in left_out
    }
    if not selected:
        raise UserError("No rule is left: that would be the base model itself.")
    return selected
