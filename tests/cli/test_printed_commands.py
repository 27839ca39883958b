"""Every command that the help, a message or the documentation prints is parsed; every option in a message exists."""

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from response_tuning.cli.commands import GROUPS, commands_of
from response_tuning.cli.from_other_trainers import OPTIONS
from response_tuning.cli.options import parse_options
from response_tuning.support.commands import command, typed_options
from response_tuning.support.configuration import changed, flatten, options_of
from response_tuning.training.presets import preset_values
from response_tuning.training.training_config import TrainingConfig

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "src").rglob("*.py"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]

SPELLED_OTHERWISE = {"loss", "rt"}
"""Of ``rt train --method preference`` (``cli.spellings``)."""
OF_EVERY_COMMAND = {
    "from-axolotl",
    "from-llama-factory",
    "config",
    "threads",
    "quiet",
    "verbose",
    "debug",
    "help",
    "version",
}
OF_OTHER_PROGRAMS = {
    *("nnodes", "node-rank", "nproc-per-node", "master-addr", "master-port"),  # torchrun
    *("file", "jinja", "no-deps"),  # ollama, llama-server, pip
    *("net", "pid", "fork", "kill-child", "map-root-user"),  # unshare
    *("ink", "quiet", "line", "paper", "panel"),  # colours of a page
    *("enable-lora", "max-loras", "max-lora-rank", "lora-modules", "served-model-name"),  # vllm
    *("chat-template", "generation-config", "override-generation-config"),
}
OTHER_NAMES = {"from"}
"""Options' second names: --from is --from-run."""
_OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")


@cache
def config_types() -> dict[str, type]:
    """The options of every command by its words."""
    return {
        (f"{group} {name}".strip() if name != group else group): each.config_type
        for group in ("", *GROUPS)
        for name, each in commands_of(group).items()
    }


def parses(line: str) -> None:
    """Parse a command as it is typed; anything wrong with it raises."""
    words = shlex.split(line.partition(" # ")[0])
    words = words[words.index("rt") + 1 :]  # variables may be set before it
    words = words[: next((place for place, word in enumerate(words) if word in ("|", ">", "&&")), len(words))]
    words = [word for word in words if word not in ("--quiet", "--verbose", "--debug")]
    if words[0] == "train" and set(OPTIONS) & set(words):
        return  # translated before options are parsed
    if "--config" in words:
        place = words.index("--config")
        del words[place : place + 2]
        words += ["--output", "out"] if "--output" not in words else []
    in_group = words[0] in GROUPS and " ".join(words[:2]) in config_types()
    name = " ".join(words[:2]) if in_group else words[0]
    command = commands_of(words[0] if words[0] in GROUPS else "")[name.split()[-1]]
    parse_options(config_types()[name], f"rt {name}", command.spelled(words[len(name.split()) :]), None)


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of a module that are no docstrings; what is filled in is an @."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    within = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part != node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "@" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings | within:
            yield node.lineno, node.value


def examples_in_help() -> list[str]:
    found: list[str] = []
    for config_type in config_types().values():
        text = (config_type.__doc__ or "").partition("For example:")[2].replace("\\\n", " ")
        found += [line.strip() for line in text.splitlines() if re.match(r"\s+(\w+=\S+ |echo .*\| )?rt ", line)]
    return list(dict.fromkeys(found))


def examples_in_pages() -> list[str]:
    found: list[str] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        found += [line.strip() for line in re.findall(r"^(?: {4}|)(?:\w+=\S+ )*rt [a-z].*$", text, re.MULTILINE)]
    return [line for line in dict.fromkeys(found) if not re.search(r"\.\.\.|\bCOMMAND\b|[|\[]|^rt is ", line)]


def test_flags_in_printed_commands_examples_of_the_help_parse() -> None:
    examples = examples_in_help()
    assert len(examples) > 40
    for line in examples:
        parses(line)


def test_flags_in_printed_commands_examples_of_the_documentation_parse() -> None:
    examples = examples_in_pages()
    assert len(examples) > 30
    wrong = []
    for line in examples:
        try:
            parses(line)
        except (SystemExit, KeyError, ValueError) as error:
            wrong.append(f"{line}: {error!r}")
    assert wrong == []


def test_flags_in_printed_commands_every_option_that_a_message_names_exists() -> None:
    known = {name.replace("_", "-") for each in config_types().values() for name in options_of(each)}
    known |= OF_EVERY_COMMAND | OF_OTHER_PROGRAMS | OTHER_NAMES | SPELLED_OTHERWISE
    unknown = [
        f"{path.name}:{line}: --{option}"
        for path in MODULES
        for line, text in literals(path)
        for option in _OPTION.findall(text)
        if not {option, option.removeprefix("no-")} & known and not option.endswith("-")
    ]
    assert unknown == [], "\n".join(unknown)


def test_flags_in_printed_commands_a_message_names_commands_that_exist() -> None:
    unknown = []
    for path in MODULES:
        for line, text in literals(path):
            for words in re.findall(r"(?<![\w-])rt (?!response-tuning)([a-z]+(?: [a-z-]+)?)", text):
                first, _, second = words.partition(" ")
                if first not in commands_of("") and not (
                    first in GROUPS
                    and (
                        not second or second in commands_of(first) or (second[0] == "-" and first in commands_of(first))
                    )
                ):
                    unknown.append(f"{path.name}:{line}: rt {words}")
    assert unknown == [], "\n".join(unknown)


@pytest.mark.parametrize("preset", ["none", "paper", "hewitt", "sftmix"])
def test_flags_in_printed_commands_turn_every_switch_on_and_off(tmp_path: Path, preset: str) -> None:
    usual = TrainingConfig(output=tmp_path / "a run", preset=preset)
    for name, option in options_of(TrainingConfig).items():
        if option.field.annotation is not bool or option.field.exclude:
            continue
        other = changed(usual, **{name: not flatten(usual)[name]})
        typed = typed_options({"output": other.output, "preset": preset, name: flatten(other)[name]})
        assert flatten(parse_options(TrainingConfig, "rt train", typed, None)) == flatten(other)


def test_a_printed_command_is_quoted_and_has_no_option_without_a_value() -> None:
    line = command(
        "probe", Path("my runs/it's"), options={"tasks": ["a", "b"], "judge": None, "offline": True, "x": []}
    )
    assert shlex.split(line) == ["rt", "probe", "my runs/it's", "--tasks", "a", "b", "--offline"]


def test_preset_values_are_options() -> None:
    assert set(preset_values("paper")) <= set(options_of(TrainingConfig))
