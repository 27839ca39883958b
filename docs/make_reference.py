"""The generated part of the reference: every command and option, and the JSON Schema of each file format.

python docs/make_reference.py FOLDER

writes the pages that the documentation site builds (``docs/site_hooks.py``).
"""

import json
import sys
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path
from typing import Any

import yaml

import response_tuning
from response_tuning.cli.command import Command
from response_tuning.cli.commands import GROUPS, commands_of
from response_tuning.cli.described import DescribedOption, described_options

_HEADER = """# Every command and option

Generated from the configurations of the commands. `rt COMMAND --help` prints the same. Each option that begins with
`--` can be set in a YAML file by its name in Python (`max_length` for `--max-length`), which `--config FILE` reads.

Options of every command, anywhere on the command line:

| option | |
|---|---|
| `--config FILE` | read options from a YAML file; the command line overrides it |
| `--threads N` | compute with N threads on the processor |
| `--quiet` | print warnings and errors only |
| `--verbose` | print what libraries log as well |
| `--debug` | print the traceback behind an error |
"""

_API_HEADER = """# API reference

Generated from the docstrings of `response_tuning.__all__`. Import each as `response_tuning.NAME`; for a guide, see
[the Python API](../python.md).
"""

SUPPORT = Path(__file__).parent / "support.yaml"
STATUSES = {"tested": "✓ tested", "simulated": "≈ simulated", "untested": "✗ not tested"}
_SUPPORT_HEADER = """# Support matrix

What the tests of this repository have seen run. *Tested*: on two CPU cores, as CI runs it. *Simulated*: the code runs
on something that takes the place of the real thing, which the last column names. *Not tested*: nobody has seen it run.
Generated from `docs/support.yaml`; a test requires that each piece of evidence exists. For model architectures, see
[Architectures](../support-matrix.md).
"""

_FILES_HEADER = """# File formats

Generated from the models that read and write the files. JSON Lines files hold one JSON object per line, in UTF-8.
"""


def pages() -> dict[str, str]:
    """Every generated page by its address."""
    return {
        "reference/commands.md": commands_page(),
        "reference/api.md": api_page(),
        "reference/files.md": files_page(),
        "reference/support.md": support_page(),
    }


def commands_page() -> str:
    """Every command with its options."""
    sections = [_HEADER]
    for group in ("", *GROUPS):
        sections += map(_command_section, commands_of(group).values())
    return "\n".join(sections)


def _command_section(command: Command) -> str:
    config_type = command.config_type
    options = described_options(config_type)
    positional = "".join(f" {option.values or option.name}" for option in options if option.is_positional)
    parts = [
        f"## rt {command.name}",
        "",
        f"    rt {command.name}{positional} [options]",
        "",
        _text(config_type.__doc__),
    ]
    for group in dict.fromkeys(option.group for option in options):
        parts += [*([f"**{group.capitalize()}**", ""] if group else []), *_table(options, group), ""]
    return "\n".join(parts)


def _text(docstring: str | None) -> str:
    """A docstring as Markdown: its examples become blocks of code."""
    text, mark, examples = cleandoc(docstring or "").partition("For example:\n")
    lines = [line for line in examples.splitlines() if line.strip()]
    return "\n".join([text.strip(), "", *(["For example:", "", *lines, ""] if mark else [])])


def _table(options: list[DescribedOption], group: str) -> Iterator[str]:
    yield "| option | values | default | |"
    yield "|---|---|---|---|"
    for option in options:
        if option.group == group:
            values = _cell(f"`{option.values}`" if option.values else "flag")
            yield f"| `{option.name}` | {values} | {_cell(option.default)} | {_cell(option.help)} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def _formats() -> list[tuple[str, str, Any]]:
    """Each file format: its name, what it is, and the model of one row or of the whole file."""
    from response_tuning.evaluation.alpaca.alpaca_format import Annotation, ModelOutput
    from response_tuning.example import Example
    from response_tuning.study.definition.study_file import StudyFile
    from response_tuning.training.training_config import TrainingConfig

    return [
        ("Examples", "One row of a JSONL file of examples. Other fields are kept unchanged.", Example),
        (
            "A run's configuration",
            "`config.yaml` of a run, and every file for `rt train --config`. Options may be written without their "
            "groups: `max_length: 1024` at the top level.",
            TrainingConfig,
        ),
        ("A study", "A file for `rt study run`.", StudyFile),
        ("Outputs for AlpacaEval", "One row of a model's outputs, in the layout of `alpaca_eval`.", ModelOutput),
        ("Judgements of AlpacaEval", "One row of a judge's preferences, in the layout of `alpaca_eval`.", Annotation),
    ]


def files_page() -> str:
    """Every file format with its JSON Schema."""
    sections = [_FILES_HEADER]
    for name, what, model in _formats():
        schema = json.dumps(model.model_json_schema(), indent=2, ensure_ascii=False)
        sections.append(f"## {name}\n\n{what}\n\n```json\n{schema}\n```\n")
    return "\n".join(sections)


def api_page() -> str:
    """Every public name, for mkdocstrings to render its docstring."""
    names = sorted(response_tuning.__all__)
    sections = [f"::: {module_of(name)}.{name}\n" for name in names]
    return "\n".join([_API_HEADER, *sections])


def module_of(name: str) -> str:
    """The module that defines a public name."""
    return response_tuning._MODULES[name]


def support_page() -> str:
    """The support matrix of ``docs/support.yaml``."""
    sections = [_SUPPORT_HEADER]
    for area, rows in yaml.safe_load(SUPPORT.read_text(encoding="utf-8")).items():
        sections += [f"## {area}", "", "| | status | evidence | |", "|---|---|---|---|"]
        sections += [_support_row(row) for row in rows] + [""]
    return "\n".join(sections)


def _support_row(row: dict[str, str]) -> str:
    evidence = row.get("evidence", "")
    path, _, name = evidence.partition("::")
    shown = f"`{path}`" + (f" {name.removeprefix('test_').replace('_', ' ')}" if name else "") if evidence else ""
    return f"| {row['what']} | {STATUSES[row['status']]} | {shown} | {row.get('note', '')} |"


def main(folder: Path) -> None:
    """Write every generated page into a folder."""
    for address, text in pages().items():
        path = folder / address
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
