"""The stages that make a cell's training set: draw or make it, add refusals, and remove instructions."""

import re
from functools import lru_cache
from typing import Any

from response_tuning.data.mix_refusals import MixRefusalsConfig
from response_tuning.data.prepare import PrepareConfig
from response_tuning.data.recipes.keep_instructions import KeepInstructionsConfig
from response_tuning.data.recipes.recipe_registry import recipes
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.study.definition.study_file import StudyFile
from response_tuning.study.planning.cells import Cell, data_name
from response_tuning.study.planning.collected import Collected, Made, slug
from response_tuning.study.planning.commands import option_words, validated
from response_tuning.study.planning.content import data_identity, files_in
from response_tuning.study.planning.plan import STUDY, Stage
from response_tuning.support.errors import UserError

__all__ = ["instructions_kept", "training_set"]

_ALL = "all"
_SHUFFLED = re.compile(r"shuffled(?:-(\d+))?")


def training_set(cell: Cell, study: StudyFile, collected: Collected, limit: int | None) -> Made:
    """The training set of a cell, and the stages that make it.

    Args:
        cell: the cell.
        study: where refusals are from.
        collected: gets the stages, and faults.
        limit: the most rows, refusals and kept instructions.
    """
    made = _drawn(cell.axes.get("data"), cell.axes.get("rows", _ALL), collected, limit)
    made = _with_refusals(made, cell, study, collected, limit)
    keep, shuffles = instructions_kept(cell, collected)
    if keep is None and not shuffles:
        return made
    options = {
        "source": made.spec,
        "keep": keep if keep is None or limit is None else min(keep, max(limit, 2)),
        "shuffle": shuffles,
        "seed": cell.seed or 0,
    }
    words = ["data", "keep-instructions", *option_words(KeepInstructionsConfig, options)]
    name = slug(data_name(cell.axes.get("data")), "shuffled" if shuffles else None, "keep", options["keep"] or _ALL)
    content = {"keep-instructions": {**options, "source": made.content}}
    return _made(collected.add("data", "data", name, words, content=content, needs=made.needs, suffix=".jsonl"))


def instructions_kept(cell: Cell, collected: Collected) -> tuple[int | None, bool]:
    """How many rows keep their instruction, None where it is all or none, and whether those are shuffled."""
    value = cell.axes.get("instructions", 0)
    shuffled = _SHUFFLED.fullmatch(str(value))
    if shuffled:
        return int(shuffled[1]) if shuffled[1] else None, True
    if value in (0, _ALL):
        return None, False
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value, False
    collected.fault(("axes", "instructions"), f"instructions is {value!r}: it should be a number, all, or shuffled.")
    return None, False


def _made(stage: Stage) -> Made:
    return Made(f"{STUDY}/{stage.name}", stage.key, (stage.key,))


def _drawn(value: Any, rows: Any, collected: Collected, limit: int | None) -> Made:
    """Rows of a source, or what a recipe makes."""
    options = dict(value) if isinstance(value, dict) else {"source": value}
    options.pop("name", None)
    number = _number(rows, collected)
    most = min((each for each in (number, limit) if each is not None), default=None)
    if "recipe" in options:
        made = _of_recipe(options, data_name(value), collected)
        return made if made is None or most is None else _prepared({"source": made.spec}, value, most, collected, made)
    if not isinstance(options.get("source"), str):
        collected.fault(("axes", "data"), f"data is {value!r}: it should be a source, or have 'source' or 'recipe'.")
        return Made("", "")
    if len(options) == 1 and most is None:
        return Made(options["source"], data_identity(options["source"]))
    return _prepared(options, value, most, collected, Made(options["source"], data_identity(options["source"])))


def _number(rows: Any, collected: Collected) -> int | None:
    if rows == _ALL or rows is None:
        return None
    if isinstance(rows, int) and not isinstance(rows, bool) and rows > 0:
        return rows
    collected.fault(("axes", "rows"), f"rows is {rows!r}: it should be a positive number, or all.")
    return None


def _prepared(options: dict[str, Any], value: Any, most: int | None, collected: Collected, source: Made) -> Made:
    asked = {**options, "max_examples": most} if most is not None else options
    try:
        validated(PrepareConfig, {**asked, "output": "rows.jsonl"})
    except ValueError as error:
        collected.fault(("axes", "data"), f"data {data_name(value)}: {error}")
        return source
    words = ["data", "prepare", *option_words(PrepareConfig, asked)]
    name = slug(data_name(value), most)
    content = {"prepare": {**asked, "source": source.content}}
    return _made(collected.add("data", "data", name, words, content=content, needs=source.needs, suffix=".jsonl"))


def _of_recipe(options: dict[str, Any], name: str, collected: Collected) -> Made:
    chosen = {recipe.name: recipe for recipe in recipes()}
    recipe = chosen.get(str(options.pop("recipe")))
    if recipe is None:
        collected.fault(("axes", "data"), f"data {name}: there is no such recipe. There are {', '.join(chosen)}.")
        return Made("", "")
    try:
        validated(recipe.config, {**options, "output": "rows.jsonl"})
    except ValueError as error:
        collected.fault(("axes", "data"), f"data {name}: {error}")
        return Made("", "")
    words = ["data", recipe.name, *option_words(recipe.config, options)]
    content = {"recipe": recipe.name, "options": options, "files": sorted(files_in(options))}
    return _made(collected.add("data", "data", slug(name), words, content=content, suffix=".jsonl"))


def _with_refusals(made: Made, cell: Cell, study: StudyFile, collected: Collected, limit: int | None) -> Made:
    count = cell.axes.get("refusals", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        collected.fault(("axes", "refusals"), f"refusals is {count!r}: it should be a number of rows.")
        return made
    if not count or not made.spec:
        return made
    options = {
        "source": made.spec,
        "refusals": study.refusals.source,
        "count": count if limit is None else min(count, limit),
        "keep": study.refusals.keep,
        "look_alikes": study.refusals.look_alikes,
    }
    words = ["data", "mix-refusals", *option_words(MixRefusalsConfig, options)]
    content = {"mix-refusals": {**options, "source": made.content, "refusals": data_identity(study.refusals.source)}}
    name = slug(data_name(cell.axes.get("data")), f"refusals{options['count']}")
    return _made(collected.add("data", "data", name, words, content=content, needs=made.needs, suffix=".jsonl"))


@lru_cache(maxsize=64)
def rows_of(spec: str) -> int | None:
    """How many rows local data have; None where that is not known without fetching or making them."""
    try:
        return len(load_examples(spec, offline=True))
    except (UserError, OSError):
        return None
