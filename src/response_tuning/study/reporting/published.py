"""The papers' own numbers beside ours: which published value belongs to which arm and metric.

The values are facts with their sources, one a row: ``published/an_kim_2025.csv`` (An, Kim & Kim, arXiv 2410.02465v3)
and ``published/hewitt_2024.csv`` (Hewitt et al., arXiv 2409.14254v1).
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from response_tuning.models.spec import parse_spec

__all__ = ["Published", "published_values", "published_with"]

_FOLDER = files("response_tuning.study.published")
_FILES = ("an_kim_2025.csv", "hewitt_2024.csv")
_PERCENT = "percent"

_METRICS: dict[tuple[str, str], tuple[str, str]] = {
    **{
        ("just", aspect): ("JustEval", aspect)
        for aspect in ("helpfulness", "factuality", "clarity", "depth", "engagement", "overall")
    },
    ("core", "mmlu acc"): ("core capabilities", "MMLU"),
    ("core", "openbookqa acc"): ("core capabilities", "OpenBookQA"),
    ("core", "hellaswag acc"): ("core capabilities", "HellaSwag"),
    ("core", "piqa acc"): ("core capabilities", "PIQA"),
    ("core", "arc acc"): ("core capabilities", "ARC"),
    ("core", "gsm8k_cot_llama exact_match,strict-match"): ("core capabilities", "GSM8K"),
    ("core", "mean of six"): ("core capabilities", "mean of six"),
    ("refusals", "refused, advbench"): ("refusals", "AdvBench"),
    ("refusals", "refused, harmbench"): ("refusals", "HarmBench"),
    ("refusals", "refused, mean of four"): ("refusals", "mean of four"),
    ("refusals", "refused, malicious-instruct"): ("refusals", "MaliciousInstruct"),
    ("refusals", "refused, xstest, unsafe"): ("refusals", "XSTest unsafe"),
    ("refusals", "refused, xstest, safe"): ("refusals", "XSTest safe (false refusals)"),
    ("infobench", "drfr"): ("InFoBench", "DRFR"),
    ("alpaca", "length_controlled"): ("AlpacaEval LC", "length-controlled win rate"),
    ("probe", "ranks"): ("response ranking", "share of pairs in which own response is likelier"),
}
"""Table and metric of the papers, by our evaluation and metric."""
_METHODS = {"base": ("untuned",), "rt": ("RT", "RT vs IT"), "it": ("IT", "IT (LIMA)")}
_DATA = {"lima": ("lima", "lima-1030"), "alpaca": ("alpaca",), "dolly": ("dolly",)}


@dataclass(frozen=True)
class Published:
    """One published number."""

    table: str
    model: str
    data: str
    method: str
    metric: str
    value: float
    """As our metrics have it: percentages as proportions."""
    source: str

    def is_of(self, model: str) -> bool:
        """Whether it is of this model: by the last part of its id."""
        name = parse_spec(model).name.rpartition("/")[2].lower().removesuffix("-hf")
        return name == self.model.lower()


@cache
def published_values() -> tuple[Published, ...]:
    """Every published number of the package."""
    values = []
    for name in _FILES:
        for row in csv.DictReader((_FOLDER / name).read_text(encoding="utf-8").splitlines()):
            value = float(row["value"]) / (100 if row["unit"] == _PERCENT else 1)
            kept = {key: row[key] for key in ("table", "model", "data", "method", "metric", "source")}
            values.append(Published(value=round(value, 6), **kept))
    return tuple(values)


def published_with(evaluation: str, metric: str, arm: Mapping[str, Any]) -> list[Published]:
    """The published numbers for an arm: of its own model, or of every model where its own is in no paper.

    Args:
        evaluation: its name in the registry.
        metric: the metric's name.
        arm: values of axes.
    """
    place = _METRICS.get((evaluation, metric))
    methods = _METHODS.get(str(arm.get("method")), ())
    if place is None or not methods:
        return []
    found = [one for one in published_values() if (one.table, one.metric) == place and _fits(one, methods, arm)]
    own = [one for one in found if one.is_of(str(arm.get("model", "")))]
    return own or found


def _fits(one: Published, methods: tuple[str, ...], arm: Mapping[str, Any]) -> bool:
    """Whether a number is of the arm's method, with as many refusals, and of its data where those are in the papers."""
    if one.table == "refusals" and arm["method"] != "base":
        count = arm.get("refusals", 0)
        if one.method not in {f"{method}, {count} refusals mixed in" for method in methods}:
            return False
    elif one.method not in methods:
        return False
    data = str(arm.get("data", "")).lower()
    return one.data == "none" or one.data in _DATA.get(data, (one.data,))
