"""Runs as GGUF files: the one that a run is, the one that an export holds, or a new one for as long as it is served."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from response_tuning.export.gguf.gguf_file import check_can_be_gguf, write_gguf
from response_tuning.inference.responder import Responder
from response_tuning.models.switching import SwitchableModel
from response_tuning.runs.load import load_responder
from response_tuning.runs.registry import kind_of
from response_tuning.serving.load_served import Witness
from response_tuning.serving.served_run import ServedRun
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json
from response_tuning.support.options import Device, Dtype, FormatName
from response_tuning.support.progress import say

__all__ = ["GgufRun", "load_gguf_runs"]

_TOLERANCE_16_BITS, _TOLERANCE_LESS = 0.3, 1.0
"""Nats, as for an export: llama.cpp rounds otherwise."""


@dataclass(frozen=True)
class GgufRun:
    """A run and the file that llama.cpp reads in its place."""

    run: ServedRun
    file: Path
    tolerance: float
    """The largest difference of log-probabilities [nats] that counts as none."""


def load_gguf_runs(
    runs: Mapping[str, str],
    folder: Path,
    *,
    format_name: FormatName | Literal["auto"],
    dtype: Dtype,
    device: Device,
    witness: Witness,
) -> list[GgufRun]:
    """The GGUF file of each run by name; what is written goes to ``folder``.

    The weights in this process are let go once ``witness`` has seen them.

    Raises:
        UserError: a run cannot be loaded, or no GGUF file can hold it.
    """
    found: list[GgufRun] = []
    for name, spec in runs.items():
        file = _file_of(spec)
        if file is None and kind_of(spec) is not None:
            raise UserError(f"{name} has no weights of its own to write as GGUF. Leave out --engine llama-cpp.")
        responder = load_responder(str(file or spec), format_name, dtype=dtype, device=device)
        if file is None:
            check_can_be_gguf(responder.loaded.model.config)
            _round_as_in_the_file(responder)
        witness(name, responder)
        path = file or _written(responder, folder / f"{len(found)}.gguf", name)
        responder.loaded.model.to(device="meta")  # type: ignore[call-arg]
        served = ServedRun(name, spec, responder, SwitchableModel(responder.loaded, {}))
        found.append(GgufRun(served, path, _tolerance(path, is_given=file is not None)))
    return found


def _file_of(spec: str) -> Path | None:
    """The GGUF file that a spec is, or that an export's folder holds.

    Raises:
        UserError: the folder holds several.
    """
    path = Path(spec)
    if path.suffix == ".gguf":
        return path
    files = sorted(path.glob("*.gguf")) if (path / "export.json").is_file() else []
    if len(files) > 1:
        raise UserError(f"{spec} holds several GGUF files: {', '.join(file.name for file in files)}. Name one of them.")
    return files[0] if files else None


def _round_as_in_the_file(responder: Responder) -> None:
    """Give the run the bf16 weights that its file will have, as an export has them: the rest of the proof is exact."""
    for weight in responder.loaded.model.parameters():
        weight.data = weight.data.to(torch.bfloat16).to(weight.dtype)


def _written(responder: Responder, path: Path, name: str) -> Path:
    say(f"writing {name} as GGUF")
    write_gguf(path, responder.loaded, responder.conversation, name=name, licence="other", gguf_type="bf16")
    return path


def _tolerance(path: Path, *, is_given: bool) -> float:
    """That of the file's own proof, where it came with one."""
    record = path.parent / "export.json"
    if is_given and record.is_file():
        proofs = read_json(record).get("proofs", [])
        return float(next((proof["tolerance"] for proof in proofs if proof["file"] == path.name), _TOLERANCE_LESS))
    return _TOLERANCE_LESS if is_given else _TOLERANCE_16_BITS
