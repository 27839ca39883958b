"""The layers of the package: imports point down only, and no modules import each other in a circle.

Imports inside functions and under ``TYPE_CHECKING`` count as well.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "response_tuning"
ROOT = PACKAGE.name

LAYERS = (
    "support",
    "example",
    "chat_template",
    "conversation",
    "models",
    "kernels",
    "inference",
    "runs",
    "data",
    "asking",
    "synthesis",
    "training",
    "evaluation",
    "people",
    "export",
    "study",
    "serving",
    "cli",
)
"""Low to high. The package's own ``__init__`` and ``__main__`` are above all of them."""


def modules() -> dict[str, ast.Module]:
    """Every module by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.Module, known: set[str]) -> Iterator[str]:
    """The modules of this package that a module imports, anywhere in its code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names} & known
            yield from names or {node.module} & known


def layer(module: str) -> str | None:
    """The layer of a module; None for the package itself."""
    name = module.removeprefix(ROOT).removeprefix(".").split(".")[0]
    return None if name in ("", "__main__") else name


TREES = modules()
IMPORTS = {name: set(imported(tree, set(TREES))) for name, tree in TREES.items()}


def test_every_module_belongs_to_a_layer() -> None:
    assert {layer(module) for module in TREES} == {*LAYERS, None}


def test_imports_point_down_only() -> None:
    upward = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in sorted(others)
        if (own := layer(module)) is not None
        and ((its := layer(other)) is None or LAYERS.index(its) > LAYERS.index(own))
    ]
    assert not upward, "\n".join(upward)


def test_no_modules_import_each_other() -> None:
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")
