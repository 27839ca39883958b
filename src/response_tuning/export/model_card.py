"""The model card of an export: what it is, how it was trained and on what, its results, and its licence."""

import re
from pathlib import Path
from typing import Any

import yaml

from response_tuning.export.licence import Base
from response_tuning.export.proof.proof import Proof
from response_tuning.runs.folder import RunDirectory
from response_tuning.support.configuration import options_of
from response_tuning.support.files import read_json
from response_tuning.training.training_config import TrainingConfig

__all__ = ["model_card"]

_METHODS = {
    "rt": "response tuning: on responses alone, with no instruction before them "
    "(An & Kim 2024, [arXiv 2410.02465](https://arxiv.org/abs/2410.02465))",
    "it": "instruction tuning: on instruction-response pairs",
}
_SETTINGS_OF_A_MACHINE = {
    *("output", "device", "gpus", "processes", "nodes"),
    *(
        "checkpoint_every_seconds",
        "keep_checkpoints",
        "keep_adapter_every",
        "keep_perplexities",
        "micro_batch_tokens",
        "packing",
    ),
}
_FILE = re.compile(r"\.(jsonl?|ndjson|csv|tsv|xlsx|parquet|arrow|txt|md|gguf|gz|bz2|xz|zst|zip)$", re.IGNORECASE)


def model_card(
    run: RunDirectory, settings: dict[str, Any], base: Base, proofs: list[Proof], *, gguf_name: str | None, title: str
) -> str:
    """The text of the export's ``README.md``.

    Args:
        run: The finished run, whose data report and evaluations are shown.
        settings: Its configuration.
        base: What it was tuned from.
        proofs: How the exported files compare with it.
        gguf_name: The GGUF file in the export, if there is one.
        title: The model's name.
    """
    sections = [
        _front_matter(base),
        f"# {title}\n\n{base.name}, tuned with response-tuning. The method was {_METHODS[settings['method']]}.",
        _use(gguf_name, has_safetensors=any(proof.file == "safetensors" for proof in proofs)),
        f"## Data\n\n{_data_table(run.data_report)}" if run.data_report.is_file() else "",
        f"## Settings\n\n```yaml\n{_settings(settings)}```",
        _evaluations(run.path / "evaluations"),
        "## Checked\n\nThe exported files were loaded again and compared with the run, greedily:\n\n"
        + "\n".join(f"- {proof}" for proof in proofs),
        _licence(base),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(base: Base) -> str:
    values: dict[str, Any] = {"pipeline_tag": "text-generation", "tags": ["response-tuning"]}
    if base.licence != "unknown":
        values["license"] = base.licence
    if base.licence == "other" and base.licence_link:
        values["license_link"] = base.licence_link
    if base.hub_id:
        values["base_model"] = base.hub_id
    return f"---\n{yaml.safe_dump(values, sort_keys=False)}---"


def _use(gguf_name: str | None, *, has_safetensors: bool) -> str:
    lines = ["## Use", "The files include the chat template and the stop tokens that it was trained with."]
    if has_safetensors:
        lines.append(
            "```python\nfrom transformers import pipeline\n\n"
            'chat = pipeline("text-generation", model="PATH OR ID OF THIS MODEL")\n'
            'chat([{"role": "user", "content": "Why is the sky blue?"}])\n```'
        )
    if gguf_name:
        lines.append(f"```\nollama create my-model --file Modelfile\nllama-server --jinja --model {gguf_name}\n```")
    return "\n\n".join(lines)


def _data_table(path: Path) -> str:
    rows = ["| | |", "|---|---|"]
    for name, value in read_json(path).items():
        shown = f"{len(value)}" if isinstance(value, list) else f"{value:,}" if isinstance(value, int) else str(value)
        rows.append(f"| {name.replace('_', ' ')} | {shown} |")
    return "\n".join(rows)


def _settings(settings: dict[str, Any]) -> str:
    shown = {name: value for name, value in settings.items() if name not in _SETTINGS_OF_A_MACHINE}
    for name, value in shown.items():
        if isinstance(value, str) and value:
            shown[name] = _without_folders(value)
    return yaml.safe_dump(
        {name: value for name, value in shown.items() if name in options_of(TrainingConfig)}, sort_keys=False
    )


def _without_folders(value: str) -> str:
    """The last part of a path on this machine, whether it exists any more or not; other values as they are."""
    path = Path(value)
    is_path = value.startswith(("/", ".", "~")) or value.partition("@")[0].count("/") > 1 or _FILE.search(value)
    return path.name if is_path or path.exists() else value


def _evaluations(folder: Path) -> str:
    tables = []
    for path in sorted(folder.glob("**/metrics.json")):
        rows = _metric_rows(read_json(path).get("metrics", {}))
        if rows:
            task = path.parent.relative_to(folder).as_posix()
            tables.append("\n".join([f"### {task}", "", "| | value | 95% interval | n |", "|---|---|---|---|", *rows]))
    return "\n\n".join(["## Results", *tables]) if tables else ""


def _metric_rows(metrics: Any, prefix: str = "") -> list[str]:
    """A row per estimate and per plain number, at any depth of the file."""
    rows: list[str] = []
    for name, value in metrics.items() if isinstance(metrics, dict) else ():
        label = f"{prefix}{name}"
        if isinstance(value, dict) and "value" in value:
            interval = f"{value['low']:.3f} to {value['high']:.3f}" if {"low", "high"} <= value.keys() else ""
            rows.append(f"| {label} | {value['value']:.3f} | {interval} | {value.get('n', '')} |")
        elif isinstance(value, dict):
            rows += _metric_rows(value, f"{label}, ")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            rows.append(f"| {label} | {value:g} | | |")
    return rows


def _licence(base: Base) -> str:
    if base.licence == "unknown":
        return "## Licence\n\nThe licence of the base model is unknown. Look it up before you distribute these weights."
    link = f" ({base.licence_link})" if base.licence_link else ""
    notice = " Gemma's terms apply to everyone who uses or distributes this model, together with `NOTICE`."
    return f"## Licence\n\nThese weights derive from {base.name} and are under its licence: `{base.licence}`{link}." + (
        notice if base.licence == "gemma" else ""
    )
