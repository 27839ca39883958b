"""Save an evaluation: the numbers, every response and verdict behind them, and a log that Inspect can show.

FOLDER/metrics.json      the numbers, and what they depend on; the first fields are the same for every evaluation
FOLDER/responses.jsonl   one row per prompt; the numbers are means of its "values"
FOLDER/TASK.eval         the same for ``inspect view``
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from response_tuning.evaluation.shared.answering import Answered
from response_tuning.evaluation.shared.evaluation_options import GenerationOptions
from response_tuning.evaluation.shared.identity import data_hash, result_settings
from response_tuning.models.fingerprint import is_of_same_model
from response_tuning.runs.folder import evaluation_folder
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines, write_json, write_json_lines
from response_tuning.support.versions import versions

__all__ = [
    "Measured",
    "read_metrics",
    "results_folder",
    "save_evaluation",
    "save_metrics",
    "save_responses",
    "write_inspect_log",
]

_BACKEND = ("backend", "dtype", "device", "format", "fingerprint")


class Measured(Protocol):
    """What the result of an evaluation needs to be saved."""

    @property
    def metrics(self) -> Mapping[str, Any]:
        """As ``save_metrics`` takes them."""
        ...

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """As ``save_responses`` takes them."""
        ...


def results_folder(model: str, task: str, output: Path | None) -> Path:
    """Where an evaluation is saved: ``output``, or the model's own folder for it. Creates nothing.

    Raises:
        UserError: nothing can be written there.
    """
    folder = output or evaluation_folder(model, task)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"Results cannot be saved in {folder}: {there} is a file. Choose another --output.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"Results cannot be saved in {folder}: {there} may not be written. Choose another --output.")
    return folder


def save_evaluation(
    folder: Path,
    task: str,
    *,
    config: GenerationOptions,
    answered: Answered,
    metrics: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    judge: str | None,
) -> None:
    """Write the three files of an evaluation that a judge may decide.

    Args:
        folder: where to write.
        task: the name of the evaluation.
        config: its settings.
        answered: the responses, and how they were made.
        metrics: as ``save_metrics``.
        rows: as ``save_responses``.
        judge: who judged; None without a judge.
    """
    save_responses(folder, task, model=config.model, rows=rows)
    save_metrics(
        folder,
        task,
        metrics=metrics,
        settings=config.model_dump(
            mode="json", exclude={"output", "offline", "dry_run", "retry_errors", "retry_unparsed"}
        ),
        backend=answered.backend,
        judge=judge,
    )


def save_responses(
    folder: Path, task: str, *, model: str, rows: Sequence[Mapping[str, Any]], name: str = "responses.jsonl"
) -> None:
    """Write every response and verdict, as JSON lines and as a log of Inspect AI.

    Args:
        folder: where to write.
        task: the name of the evaluation.
        model: who answered.
        rows: one per prompt, with "prompt" and "values": per metric a number, or a numerator and a denominator. Most
            have a "response"; "answer" is what a judge wrote.
        name: the file of JSON lines.
    """
    write_json_lines(folder / name, (dict(row) for row in rows))
    write_inspect_log(folder / f"{task}.eval", task, model, rows)


def save_metrics(
    folder: Path,
    task: str,
    *,
    metrics: Mapping[str, Any],
    settings: Mapping[str, Any],
    backend: Mapping[str, str | None],
    judge: str | None = None,
    packages: Sequence[str] = (),
    **others: Any,
) -> None:
    """Write ``metrics.json``: the numbers, and the fields that every evaluation has.

    Args:
        folder: where to write.
        task: the name of the evaluation.
        metrics: by name, nested to any depth; dataclasses such as ``Estimate`` are written as objects.
        settings: what the numbers depend on.
        backend: what made the responses (``Answered.backend``); missing fields are written as null.
        judge: who judged; None without a judge.
        packages: packages whose versions the numbers depend on, besides the usual ones.
        others: fields of this evaluation alone, at the end of the file.
    """
    write_json(
        folder / "metrics.json",
        {
            "task": task,
            "metrics": _plain(metrics),
            "settings": dict(settings),
            "judge": judge,
            **{name: backend.get(name) for name in _BACKEND},
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {**versions(), **{name: version(name) for name in packages}},
            **others,
        },
    )


def read_metrics(
    folder: Path,
    *,
    settings: Mapping[str, Any],
    defaults: Mapping[str, Any] | None = None,
    data: Sequence[Mapping[str, Any]] | None = None,
    rows_file: str = "responses.jsonl",
) -> dict[str, Any] | None:
    """The content of ``metrics.json`` in ``folder``, if it was made with these settings, data and weights.

    None otherwise, or where there is no such file. Settings that do not change a result are not compared
    (``identity.result_settings``). Files of older versions name the model without a fingerprint, and the data by their
    path alone: then prompts and references are compared with those of the saved rows.

    Args:
        folder: the results folder.
        settings: what the result depends on.
        defaults: of settings that older versions did not know.
        data: the rows that the model is asked; their content then decides, not their path.
        rows_file: the file of the saved rows.
    """
    path = folder / "metrics.json"
    if not path.exists():
        return None
    saved: dict[str, Any] = read_json(path)
    by_content = () if data is None else ("data", "max_examples")
    now, then = (result_settings(each, defaults=defaults, without=by_content) for each in (settings, saved["settings"]))
    if now != then or not _is_of_model(saved, str(settings["model"])):
        return None
    return saved if data is None or _is_of_data(saved, data, folder / rows_file) else None


def _is_of_model(saved: Mapping[str, Any], spec: str) -> bool:
    fingerprint = saved.get("fingerprint")
    if fingerprint is None and saved["settings"].get("model") != spec:
        return False
    return is_of_same_model(fingerprint, spec)


def _is_of_data(saved: Mapping[str, Any], data: Sequence[Mapping[str, Any]], rows_file: Path) -> bool:
    if saved.get("data_hash") is not None:
        return bool(saved["data_hash"] == data_hash(data))
    names = ("prompt", "completion")
    rows = read_json_lines(rows_file) if rows_file.exists() else []
    return [[row.get(name) for name in names] for row in rows] == [[row.get(name) for name in names] for row in data]


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value


def write_inspect_log(path: Path, task: str, model: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as a log of Inspect AI, where that is installed. Only ``inspect view`` reads it."""
    try:
        from inspect_ai import log as inspect_log
        from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
        from inspect_ai.scorer import Score
    except ImportError:
        return

    def sample(number: int, row: Mapping[str, Any]) -> inspect_log.EvalSample:
        response = row.get("response", "")
        return inspect_log.EvalSample(
            id=number,
            epoch=1,
            input=row["prompt"],
            target="",
            messages=[ChatMessageUser(content=row["prompt"]), ChatMessageAssistant(content=response)],
            output=ModelOutput.from_content(model, response),
            scores={
                name: Score(value=_quotient(value), answer=response, explanation=row.get("answer"))
                for name, value in row["values"].items()
            },
            metadata={name: value for name, value in row.items() if name not in ("prompt", "response", "values")},
        )

    samples = [sample(number, row) for number, row in enumerate(rows, start=1)]
    names = list(dict.fromkeys(name for row in rows for name in row["values"]))
    scores = [
        inspect_log.EvalScore(
            name=name,
            scorer=name,
            metrics={"mean": inspect_log.EvalMetric(name="mean", value=_mean(rows, name))},
        )
        for name in names
    ]
    log = inspect_log.EvalLog(
        status="success",
        eval=inspect_log.EvalSpec(
            created=datetime.now(UTC).isoformat(),
            task=task,
            dataset=inspect_log.EvalDataset(name=task, samples=len(rows), sample_ids=[row.id for row in samples]),
            model=model,
            config=inspect_log.EvalConfig(),
        ),
        results=inspect_log.EvalResults(total_samples=len(rows), completed_samples=len(rows), scores=scores),
        samples=samples,
    )
    # Inspect writes in several steps, and chooses the format by the suffix.
    with TemporaryDirectory(dir=path.parent, prefix=f".{task}.") as staging:
        inspect_log.write_eval_log(log, f"{staging}/{path.name}")
        Path(staging, path.name).replace(path)


def _mean(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """The mean; of ratios, the sum of the numerators over the sum of the denominators."""
    pairs = [_ratio(row["values"][name]) for row in rows if name in row["values"]]
    return float(sum(part for part, _ in pairs) / sum(whole for _, whole in pairs))


def _quotient(value: float | Sequence[float]) -> float:
    part, whole = _ratio(value)
    return float(part / whole)


def _ratio(value: float | Sequence[float]) -> tuple[float, float]:
    if isinstance(value, int | float):
        return value, 1
    part, whole = value
    return part, whole
