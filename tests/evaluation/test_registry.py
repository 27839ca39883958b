"""The registry: what it lists, and that one more evaluation needs no edit anywhere else."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import response_tuning.evaluation
from response_tuning.cli.main import main
from response_tuning.evaluation import registry
from response_tuning.evaluation.compare.compare_config import CompareConfig
from response_tuning.evaluation.contract import Evaluation
from response_tuning.evaluation.everything import EverythingConfig, evaluations_in_all, options_in_all
from response_tuning.evaluation.registry import ENTRY_POINTS, evaluations, register
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from response_tuning.support.plugins import offered
from tests.conftest import tiny_model
from tests.evaluation.shouting import SHOUTING

ROOM = Path(response_tuning.evaluation.__path__[0])
DOCS = Path(__file__).parents[2] / "docs"
BUILT_IN = ["probe", "ifeval", "core", "refusals", "selective", "alpaca", "just", "mt-bench", "infobench"]
OF_OWN_DATA = ["checklist", "rules"]
"""Evaluations that rt eval all leaves out, because they need data of the user's own."""
MOST_IMPORTS = 33
SHORT = ["--max-new-tokens", "4", "--dtype", "float32", "--device", "cpu"]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The registry as it was, after the test."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    offered.cache_clear()
    yield
    offered.cache_clear()


@pytest.fixture
def _shouting() -> None:
    """The toy evaluation, added by one call."""
    register(SHOUTING)


def words(text: str) -> str:
    return " ".join(text.split())


def test_the_evaluations_of_the_package_are_registered_in_order() -> None:
    assert list(evaluations())[: len(BUILT_IN) + len(OF_OWN_DATA)] == [*BUILT_IN, *OF_OWN_DATA]


def test_reading_the_registry_loads_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "numpy", "sklearn", "jinja2", "inspect_ai")
    code = f"import sys, response_tuning.evaluation.registry; print([name for name in {heavy} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.parametrize("name", [*BUILT_IN, *OF_OWN_DATA])
def test_every_config_needs_a_model_and_nothing_else(name: str) -> None:
    config = evaluations()[name].config
    needed = [field for field, info in config.model_fields.items() if info.is_required()]
    assert needed == ([] if name == "probe" else ["model"])  # a file of responses may take the model's place
    assert config.__doc__


def test_a_name_that_is_taken_is_refused() -> None:
    register(SHOUTING)
    register(SHOUTING)  # the same again is no conflict
    for name in ("probe", "all", "agreement"):
        with pytest.raises(ValueError, match=f"already a command rt eval {name}"):
            register(replace(SHOUTING, name=name))
    with pytest.raises(ValueError, match="have no field 'model'"):
        register(Evaluation(name="other", config=CompareConfig, run=lambda _: None, table=lambda *_: ""))


@pytest.mark.usefixtures("_shouting")
def test_an_evaluation_added_by_one_call_runs_from_the_command_line(
    tmp_path: Path,
    model_folder: Path,
    tokenizer: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    tiny_model(tokenizer, seed=1).save_pretrained(other)
    tokenizer.save_pretrained(str(other))
    assert main(["eval", "shouting", str(model_folder), "other", *SHORT]) == 0
    printed = words(capsys.readouterr().out)
    assert printed.count("shouts") == 2
    saved = read_json(tmp_path / "runs" / "base-other" / "evaluations" / "shouting" / "metrics.json")
    assert (saved["task"], saved["metrics"]["shouts"]["n"], saved["judge"]) == ("shouting", 2, None)
    assert main(["compare", str(model_folder), "other", "--output", "compared.json"]) == 0
    assert read_json(tmp_path / "compared.json")["tasks"]["shouting"]["prompts"] == 2
    assert "shouting, 2 prompts" in words(capsys.readouterr().out)


def test_an_evaluation_of_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = tmp_path / "installed"
    information = package / "loud_tests-1.0.dist-info"
    information.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("shouting.py"), package / "loud_tests.py")
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: loud-tests\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        f"[{ENTRY_POINTS}]\nshouting = loud_tests:SHOUTING\nbroken = loud_tests:MISSING\n"
    )
    monkeypatch.syspath_prepend(package)
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "shouting", str(model_folder), "--output", "out", *SHORT]) == 0
    printed = capsys.readouterr()
    assert "shouts" in printed.out
    assert "The plugin 'loud_tests:MISSING' (response_tuning.evaluations) cannot be loaded" in words(printed.err)
    assert (tmp_path / "out" / "metrics.json").exists()
    assert list(evaluations())[-1] == "shouting"


def all_options(**options: Any) -> dict[str, Any]:
    """What ``rt eval all`` runs with these options, by name."""
    everything = EverythingConfig(model="m", **options)
    return {each.name: options_in_all(each, everything) for each in evaluations_in_all(everything)}


@pytest.mark.usefixtures("_shouting")
def test_everything_is_every_evaluation_with_the_options_that_it_shares() -> None:
    unjudged = all_options(max_examples=3, offline=True)
    assert list(unjudged) == [*BUILT_IN[:5], "shouting"]
    assert {config.max_examples for config in unjudged.values()} == {3}
    assert unjudged["shouting"] == SHOUTING.config(model="m", max_examples=3, offline=True)
    assert unjudged["selective"].confidence == ("likelihood", "self")
    judged = all_options(judge="j", concurrency=2, data_dir=Path("data"))
    assert list(judged) == [*BUILT_IN, "shouting"]
    assert judged["selective"].confidence == ("likelihood", "self", "judge")
    assert judged["core"].data_dir == Path("data")
    for name in ("refusals", "selective", "alpaca", "just", "infobench"):
        assert (judged[name].judge, judged[name].concurrency) == ("j", 2)


def test_options_out_of_bounds_for_one_evaluation_are_an_error_of_the_user() -> None:
    everything = EverythingConfig(model="m", max_examples=1)
    with pytest.raises(UserError, match="--max-examples is 1: it should be greater than or equal to 2"):
        options_in_all(evaluations()["probe"], everything)


def test_eval_all_runs_an_added_evaluation(
    tmp_path: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_registered", {})
    register(SHOUTING)
    assert main(["eval", "all", str(model_folder), "--max-examples", "1"]) == 0
    captured = capsys.readouterr()
    assert f"{model_folder}: shouting" in words(captured.err)
    assert "shouts" in captured.out


def test_the_example_in_the_contract_is_the_toy_evaluation() -> None:
    docstring = Evaluation.__doc__ or ""
    written = Path(__file__).with_name("shouting.py").read_text(encoding="utf-8")
    statements = re.findall(r"class ShoutingConfig.*?:|prompts = \[.*?\]|responses, backend = .*|rows = \[", docstring)
    assert len(statements) == 4
    assert [statement for statement in statements if statement not in written] == []


def test_the_docs_list_every_evaluation() -> None:
    page = (DOCS / "evaluation.md").read_text(encoding="utf-8")
    command = re.search(r"rt eval ([\w|-]+) MODEL", page)
    assert command is not None
    assert set(command.group(1).split("|")) == {*BUILT_IN, *OF_OWN_DATA, "all"}


@pytest.mark.parametrize(
    "folder",
    # What evaluations share belongs to no evaluation.
    sorted(path.name for path in ROOM.iterdir() if (path / "__init__.py").exists() and path.name != "shared"),
)
def test_an_evaluation_imports_little_from_outside_its_folder(folder: str) -> None:
    own = f"response_tuning.evaluation.{folder}"
    outside = {
        module
        for path in sorted((ROOM / folder).glob("*.py"))
        for module in imported_modules(path)
        if not module.startswith(f"{own}.")
    }
    assert len(outside) <= MOST_IMPORTS, outside


def imported_modules(path: Path) -> list[str]:
    """The modules of response_tuning that a file imports, once for each import."""
    imports = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    return [node.module for node in imports if node.module and node.module.startswith("response_tuning.")]


def test_no_imports_of_the_room_go_in_a_circle() -> None:
    """Not even imports inside functions, or for types only."""
    below = {module_name(path): set(imported_modules(path)) for path in ROOM.rglob("*.py")}
    while below:
        free = {module for module, imports in below.items() if not imports & below.keys()}
        assert free, sorted(below)
        below = {module: imports for module, imports in below.items() if module not in free}


def module_name(path: Path) -> str:
    """As it is imported."""
    return ".".join(("response_tuning.evaluation", *path.relative_to(ROOM).with_suffix("").parts))


def test_modules_of_the_room_have_names_of_their_own() -> None:
    names = [path.name for path in ROOM.rglob("*.py") if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))
