"""How likely the reference finds each response of a preference training: computed once, before the training starts.

The reference is the model that the training starts from: the base of the adapter, which may itself be a run, with the
adapter that the training continues from, if it does. Its
log-likelihoods depend on nothing that training changes, so they are kept in the run's folder, for a training that is
resumed, and in the cache, for another one on the same data from the same model.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from response_tuning.conversation import EncodedExample, encode_examples
from response_tuning.example import Example
from response_tuning.inference.responder import Responder
from response_tuning.inference.score import log_likelihoods
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.support.assets import cache_folder
from response_tuning.support.files import read_json, write_json
from response_tuning.support.progress import progress_bar
from response_tuning.training.continuing import start_of, with_start
from response_tuning.training.encoding import conversation_for
from response_tuning.training.objectives.contract import DataSets
from response_tuning.training.parallel.processes import decided_by_first
from response_tuning.training.planning.memory import named_part
from response_tuning.training.training_config import TrainingConfig
from response_tuning.training.tuning import load_base

__all__ = ["Reference", "RowPair", "row_pairs"]

_FILE = "reference.json"

LogLikelihoods = list[float | None]
"""Of rows, in nats; None of one that does not fit into ``--max-length``."""


class Reference:
    """The log-likelihoods of a training's rows under its reference.

    Args:
        config: The training.
        is_used: Whether the loss has a reference; without one they are 0 and nothing is computed.
    """

    def __init__(self, config: TrainingConfig, *, is_used: bool = True) -> None:
        self._config = config
        self._is_used = is_used
        self._fingerprint = ""
        self.train: LogLikelihoods = []
        """Of the rows that it trains on."""
        self.held_out: LogLikelihoods = []
        """Of the rows that it holds out."""

    def compute(self, examples: DataSets, accelerator: Accelerator) -> None:
        """Read the log-likelihoods where they are kept, or compute them: every process a part."""
        rows = [*examples.train, *examples.held_out]
        self._fingerprint = "/".join(examples.fingerprints.values())
        values: LogLikelihoods = [0.0] * len(rows)
        if self._is_used:
            values = self._of(rows, accelerator)
        self.train, self.held_out = values[: len(examples.train)], values[len(examples.train) :]

    def write(self, run: Path) -> None:
        """Keep them in a run's folder and in the cache."""
        if not self._is_used:
            return
        key = _key(self._config, self._fingerprint)
        for path in (run / _FILE, _cached(key)):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"key": key, "log_likelihoods": [*self.train, *self.held_out]})

    def _of(self, rows: Sequence[Example], accelerator: Accelerator) -> LogLikelihoods:
        config, key = self._config, _key(self._config, self._fingerprint)
        kept = decided_by_first(accelerator, lambda: _read(config.output / _FILE, key) or _read(_cached(key), key))
        if kept is not None:
            return kept
        process, processes = accelerator.process_index, accelerator.num_processes
        parts: list[LogLikelihoods] = gather_object([_measure(config, rows[process::processes])])
        return [parts[index % processes][index // processes] for index in range(len(rows))]


@dataclass(frozen=True)
class RowPair:
    """The two rows that are made of one of the data: its own response, and the other one."""

    examples: tuple[EncodedExample, EncodedExample]
    reference: tuple[float, float]
    """Their log-likelihoods under the reference, in nats."""


def row_pairs(
    encoded: Sequence[EncodedExample], dropped: Sequence[int], reference: Sequence[float | None]
) -> list[RowPair | None]:
    """The pairs of rows, in the order of the data; None where a row of the pair is dropped.

    Args:
        encoded: The rows that are left, in order.
        dropped: Row numbers, from 1, of those that are not.
        reference: The log-likelihood of every row, dropped or not.
    """
    left, gone = iter(encoded), set(dropped)
    rows = [None if row in gone else next(left) for row in range(1, len(reference) + 1)]
    pairs: list[RowPair | None] = []
    for own, other, of_own, of_other in zip(rows[::2], rows[1::2], reference[::2], reference[1::2], strict=True):
        if own is None or other is None or of_own is None or of_other is None:
            pairs.append(None)
        else:
            pairs.append(RowPair((own, other), (of_own, of_other)))
    return pairs


def _measure(config: TrainingConfig, examples: Sequence[Example]) -> LogLikelihoods:
    if not examples:
        return []
    with named_part("the reference model", config):
        loaded = load_base(config.model, config.adapter.tuning, dtype=config.memory.dtype, device=config.memory.device)
        loaded = replace(loaded, model=with_start(loaded.model, start_of(config)))
    conversation = conversation_for(loaded.tokenizer, config.encoding)
    encoded, report = encode_examples(
        examples,
        conversation,
        config.method,
        max_length=config.encoding.max_length,
        overlong=config.encoding.overlong,
    )
    with progress_bar("log-likelihoods of the reference", len(encoded)) as bar:
        tokens = config.batches.tokens_at_once
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


def _read(path: Path, key: str) -> LogLikelihoods | None:
    """What ``path`` holds under that key; None if there is no such file, or it is of other data or another model."""
    if not path.is_file():
        return None
    kept = read_json(path)
    values: LogLikelihoods | None = kept.get("log_likelihoods") if kept.get("key") == key else None
    return values
