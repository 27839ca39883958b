"""How likely the reference finds each response of a preference training: computed once, before the training starts.

The reference is the model that the training starts from: the base of the adapter, which may itself be a run, with the
adapter that the training continues from, if it does. Its
log-likelihoods depend on nothing that training changes, so they are kept in the run's folder, for a training that is
resumed, and in the cache, for another one on the same data from the same model.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from response_tuning.conversation import Conversation, encode_examples
from response_tuning.example import Example
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import log_likelihoods
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.support.assets import cache_folder
from response_tuning.support.files import read_json, write_json
from response_tuning.support.progress import progress_bar
from response_tuning.training.continuing import start_of, with_start
from response_tuning.training.parallel.processes import decided_by_first
from response_tuning.training.planning.memory import named_part
from response_tuning.training.training_config import TrainingConfig
from response_tuning.training.tuning import load_base

__all__ = ["reference_log_likelihoods", "write_reference"]

_FILE = "reference.json"


def reference_log_likelihoods(
    config: TrainingConfig, examples: Sequence[Example], fingerprint: str, accelerator: Accelerator
) -> list[float | None]:
    """The log-likelihood [nats] of each example's response; None of one that does not fit into ``--max-length``.

    Each process measures a part.

    Args:
        config: The training.
        examples: What it trains on and what it holds out.
        fingerprint: Of all of them.
    """
    key = _key(config, fingerprint)
    kept = decided_by_first(accelerator, lambda: _read(config.output / _FILE, key) or _read(_cached(key), key))
    if kept is not None:
        return kept
    process, processes = accelerator.process_index, accelerator.num_processes
    parts: list[list[float | None]] = gather_object([_measure(config, examples[process::processes])])
    return [parts[index % processes][index // processes] for index in range(len(examples))]


def write_reference(config: TrainingConfig, fingerprint: str, values: Sequence[float | None]) -> None:
    """Keep the log-likelihoods in the run's folder and in the cache."""
    key = _key(config, fingerprint)
    for path in (config.output / _FILE, _cached(key)):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, {"key": key, "log_likelihoods": list(values)})


def _measure(config: TrainingConfig, examples: Sequence[Example]) -> list[float | None]:
    if not examples:
        return []
    with named_part("the reference model", config):
        loaded = load_base(config.model, config.adapter.tuning, dtype=config.memory.dtype, device=config.memory.device)
        loaded = replace(loaded, model=with_start(loaded.model, start_of(config)))
    assert config.encoding.format != "auto"
    conversation = Conversation(loaded.tokenizer, config.encoding.format, rt_prefix=config.encoding.rt_prefix)
    encoded, report = encode_examples(
        examples,
        conversation,
        config.method,
        max_length=config.encoding.max_length,
        overlong=config.encoding.overlong,
    )
    with progress_bar("log-likelihoods of the reference", len(encoded)) as bar:
        tokens = config.batches.micro_batch_tokens
        values = iter(log_likelihoods(Responder(loaded, conversation), encoded, batch_tokens=tokens, bar=bar))
    dropped = set(report.rows_dropped_overlong)
    return [None if row in dropped else next(values) for row in range(1, len(examples) + 1)]


def _key(config: TrainingConfig, fingerprint: str) -> str:
    """A hash of what the log-likelihoods depend on."""
    parts = {
        "examples": fingerprint,
        "model": model_fingerprint(config.model) or config.model,
        **({"start": model_fingerprint(config.from_run)} if config.from_run else {}),
        "four_bit": config.adapter.tuning == "qlora",
        "method": config.method,
        "encoding": config.encoding.model_dump(mode="json"),
        "dtype": config.memory.dtype,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _cached(key: str) -> Path:
    return cache_folder() / "references" / f"{key}.json"


def _read(path: Path, key: str) -> list[float | None] | None:
    """What ``path`` holds under that key; None if there is no such file, or it is of other data or another model."""
    if not path.is_file():
        return None
    kept = read_json(path)
    values: list[float | None] | None = kept.get("log_likelihoods") if kept.get("key") == key else None
    return values
