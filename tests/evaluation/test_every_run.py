"""Every evaluation of the registry measures every kind of run, and what was measured is compared."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from response_tuning.data.demonstrations.in_context_config import InContextConfig
from response_tuning.data.demonstrations.make_in_context import make_in_context
from response_tuning.evaluation.compare.compare import compare
from response_tuning.evaluation.compare.compare_config import CompareConfig
from response_tuning.evaluation.registry import evaluations
from response_tuning.example import Example, write_examples
from response_tuning.export.export import export
from response_tuning.export.export_config import ExportConfig
from response_tuning.runs.registry import kind_of, run_kinds
from response_tuning.runs.rules.make_rules import make_rules
from response_tuning.runs.rules.rules_config import RulesConfig
from response_tuning.support.assets import MIRROR_VARIABLE
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from response_tuning.training.trainer import train
from response_tuning.training.training_config import TrainingConfig
from tests.conftest import SHARED_DATA, tiny_model
from tests.evaluation.judges import SERVED, verdict
from tests.inference.faulty_server import FaultyServer, serve

pytestmark = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the published prompts are not beside the project")

FAST: dict[str, Any] = {"max_examples": 4, "device": "cpu", "dtype": "float32"}
SHORT = FAST | {"max_new_tokens": 4}
JUDGED = SHORT | {"retries": 0, "offline": True, "judge": SERVED}
DATA = {"data": "DATA"}
OPTIONS: dict[str, dict[str, Any]] = {
    "probe": SHORT | DATA | {"others": 2},
    "ifeval": SHORT | {"offline": True},
    "core": FAST | {"tasks": ["piqa", "gsm8k"], "data_dir": "CORE", "max_examples": 2},
    "refusals": JUDGED | {"sets": ["advbench"]},
    "selective": JUDGED | DATA | {"confidence": ["likelihood", "self", "judge"]},
    "alpaca": JUDGED | {"reference": "REFERENCE"},
    "just": JUDGED | {"prompts": "PROMPTS"},
    "infobench": JUDGED | {"prompts": "REQUIREMENTS"},
    "mt-bench": JUDGED | {"questions": "QUESTIONS"},
    "checklist": JUDGED | {"data": "PREFERENCES", "reference": "completion"},
    "rules": JUDGED | {"data": "RULES"},
}
"""The options of each evaluation; names in capitals are paths."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tokenizer: PreTrainedTokenizerBase) -> Path:
    """The tiny model with room for demonstrations and long prompts."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    tiny = tiny_model(tokenizer)
    tiny.config.max_position_embeddings = 8192
    tiny.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory, examples: list[Example]) -> dict[str, Path]:
    """What the evaluations read."""
    folder = tmp_path_factory.mktemp("data")
    write_examples(folder / "data.jsonl", examples[:6])
    outputs = [
        {"instruction": f"Tell me about tea {number}.", "output": "Tea.", "generator": "other", "dataset": "d"}
        for number in range(4)
    ]
    (folder / "reference.json").write_text(json.dumps(outputs))
    prompts = [{"instruction": f"Is tea {number} good?", "category": "regular"} for number in range(4)]
    (folder / "prompts.json").write_text(json.dumps(prompts))
    required = [
        {"instruction": f"Sell tea {number}.", "decomposed_questions": ["Is it an offer?"], "subset": "Easy_set"}
        for number in range(4)
    ]
    (folder / "requirements.json").write_text(json.dumps(required))
    asked: dict[str, list[dict[str, Any]]] = {
        "questions": [
            {"question_id": number, "category": "writing", "turns": ["Is tea good?", "Why?"]} for number in range(4)
        ],
        "preferences": [{"prompt": "Sell tea.", "completion": "Tea!", "preferences": ["Be brief."]}] * 4,
        "rules": [{"prompt": "Sell tea.", "completion": "Tea!", "system": "Be brief.", "rules": ["Be brief."]}] * 4,
    }
    for name, lines in asked.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    rows = [{"goal": "Make tea", "sol1": "Boil water.", "sol2": "Boil sand.", "label": 0}] * 3
    sums = [{"question": f"What is {number} and 1?", "answer": f"It is\n#### {number + 1}"} for number in range(12)]
    for name, content in (("piqa/valid.jsonl", rows), ("gsm8k/test.jsonl", sums), ("gsm8k/train.jsonl", sums)):
        (folder / "core" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "core" / name).write_text("".join(json.dumps(row) + "\n" for row in content))
    return {
        "DATA": folder / "data.jsonl",
        "REFERENCE": folder / "reference.json",
        "PROMPTS": folder / "prompts.json",
        "REQUIREMENTS": folder / "requirements.json",
        "QUESTIONS": folder / "questions.jsonl",
        "PREFERENCES": folder / "preferences.jsonl",
        "RULES": folder / "rules.jsonl",
        "CORE": folder / "core",
    }


def trained(model: Path, data: Path, output: Path) -> Path:
    config = TrainingConfig.model_validate(
        {"model": str(model), "data": str(data), "output": output, "epochs": 1, "dtype": "float32", "device": "cpu"}
    )
    return train(config).path


def in_context(model: Path, data: Path, output: Path) -> Path:
    config = {"model": str(model), "demonstrations": str(data), "output": output, "style": "pairs", "count": 2}
    return make_in_context(InContextConfig.model_validate(config)).path


def by_rules(model: Path, _data: Path, output: Path) -> Path:
    return make_rules(RulesConfig.model_validate({"model": str(model), "output": output})).path


MAKERS: dict[str, Callable[[Path, Path, Path], Path]] = {
    "trained": trained,
    "in_context": in_context,
    "rules": by_rules,
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, model: Path, paths: dict[str, Path]) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: make(model, paths["DATA"], folder / kind) for kind, make in MAKERS.items()}


def reply(question: str, _before: int) -> str:
    """A judge who is asked for a refusal, a requirement, a rating, a preference or five scores."""
    if "COMPLIANCE" in question:
        return verdict(question, "REFUSAL")
    if "requirement" in question:
        return verdict(question, "YES")
    if "helpfulness" in question:
        return verdict(question, "helpfulness=5 clarity=4 factuality=3 depth=2 engagement=1")
    return verdict(question, "TIE" if "TIE" in question else "4")


@pytest.fixture(scope="module")
def judge() -> Iterator[FaultyServer]:
    with serve(reply) as server:
        yield server


def test_the_kinds_and_the_evaluations_are_all_here() -> None:
    assert {"trained", *(kind.name for kind in run_kinds())} == set(MAKERS)
    assert set(evaluations()) == set(OPTIONS)


@pytest.mark.parametrize("name", OPTIONS)
def test_an_evaluation_measures_and_compares_every_kind_of_run(
    name: str,
    runs: dict[str, Path],
    paths: dict[str, Path],
    judge: FaultyServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(SHARED_DATA))
    evaluation = evaluations()[name]
    options = {
        key: str(paths.get(str(value), value)) if isinstance(value, str) else value
        for key, value in OPTIONS[name].items()
    }
    if "judge" in options:
        options["judge_base_url"] = judge.url
    for kind, run in runs.items():
        config = evaluation.config.model_validate({"model": str(run), **options})
        result = evaluation.run(config)
        assert result is not None
        assert evaluation.table(config, result) is not None
        saved = read_json(run / "evaluations" / name / "metrics.json")
        assert saved["metrics"]
        assert (kind_of(str(run)) is None) == (kind == "trained")
    compared = compare(CompareConfig(runs=tuple(map(str, runs.values())), tasks=(name,), output=tmp_path / "c.json"))
    assert compared is not None
    assert read_json(tmp_path / "c.json")


@pytest.mark.parametrize("kind", ["in_context", "rules"])
def test_export_says_why_a_run_without_weights_is_not_exported(
    runs: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"is a run of the kind {kind} and cannot be exported"):
        export(ExportConfig(run=runs[kind], output=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
