"""How sure a reference training was of each example over its course: SFTMix's training dynamics (Xiao et al. 2024).

At every adapter that the reference run kept, and at its end, each example has a perplexity; the mean of them, negated,
is the example's confidence. The half of higher confidence is learned easily and early, the other hardly or late.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from response_tuning.conversation import EncodedExample
from response_tuning.example import Example
from response_tuning.inference.score import example_losses
from response_tuning.runs.folder import RunDirectory
from response_tuning.runs.load import load_with_conversation
from response_tuning.support.configuration import written_options
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json, read_json_lines, write_json_lines
from response_tuning.support.progress import progress_bar
from response_tuning.training.parallel.processes import decided_by_first
from response_tuning.training.planning.memory import named_part
from response_tuning.training.training_config import TrainingConfig

__all__ = ["confidences", "halves", "perplexities", "require_reference", "write_confidences"]

_FILE = "confidence.jsonl"
_LARGEST_EXPONENT = 700.0
"""A double holds e to the power of this."""


def require_reference(config: TrainingConfig, data_fingerprint: str) -> None:
    """Validate that ``--sftmix-from`` names a run that confidences of these examples can be computed from.

    Nothing is needed where they are in the run's own folder already.

    Raises:
        UserError: it is no finished run, was trained by another method or on other data, or kept no adapters.
    """
    if _written(RunDirectory(config.output), data_fingerprint) is not None:
        return
    run = RunDirectory(Path(config.sftmix.sftmix_from))
    if not run.config.exists() or not run.is_trained:
        raise UserError(f"--sftmix-from names {run.path}, which is no finished run.")
    method = written_options(run.config).get("method", "rt")
    if method != config.method:
        raise UserError(f"{run.path} was trained with --method {method}, and --sftmix-from needs {config.method}.")
    if _data_fingerprint(run) != data_fingerprint:
        raise UserError(f"{run.path} was trained on other data, and --sftmix-from needs a run on the same.")
    if not run.kept_checkpoints:
        raise UserError(
            f"{run.path} kept no adapters, which --sftmix-from takes its confidences from. "
            "Train it again with --keep-adapter-every."
        )


def perplexities(
    config: TrainingConfig, data_fingerprint: str, examples: Sequence[Example], accelerator: Accelerator
) -> list[list[float]]:
    """The perplexity of each example, of ``examples`` as they were read, at each point of the reference run.

    Once written to the run's folder they are read from there, so that a resumed training has the same halves. Each
    process measures a part, with the reference's own model, tokenizer and chat format.
    """
    written = decided_by_first(accelerator, lambda: _written(RunDirectory(config.output), data_fingerprint))
    if written is not None:
        return written
    reference = RunDirectory(Path(config.sftmix.sftmix_from))
    points = [*reference.kept_checkpoints.values(), reference.path]
    process, processes = accelerator.process_index, accelerator.num_processes
    own = examples[process::processes]
    with progress_bar("confidence of the reference run", len(points) * len(own)) as bar:
        columns = []
        for point in points:
            columns.append(_perplexities_at(point, own, config))
            bar.advance(len(own))
    rows = [list(row) for row in zip(*columns, strict=True)]
    parts: list[list[list[float]]] = gather_object([rows])
    return [parts[index % processes][index // processes] for index in range(len(examples))]


def _written(run: RunDirectory, data_fingerprint: str) -> list[list[float]] | None:
    """The perplexities that ``write_confidences`` wrote to ``run``, if they are of these data."""
    path = run.path / _FILE
    if not path.exists() or _data_fingerprint(run) != data_fingerprint:
        return None
    return [row["perplexities"] for row in read_json_lines(path)]


def _data_fingerprint(run: RunDirectory) -> str | None:
    report = read_json(run.data_report) if run.data_report.is_file() else {}
    fingerprint: str | None = report.get("data_fingerprint")
    return fingerprint


def _perplexities_at(point: Path, examples: Sequence[Example], config: TrainingConfig) -> list[float]:
    """The perplexity of each example under the adapter in ``point``."""
    if not examples:
        return []
    with named_part("the reference run's model", config):
        loaded, conversation = load_with_conversation(
            str(point), "auto", dtype=config.memory.dtype, device=config.memory.device
        )
    encoded = [_cut(conversation.encode(example, config.method), config.encoding.max_length) for example in examples]
    losses = example_losses(loaded.model, encoded, batch_tokens=config.batches.tokens_at_once)
    return [
        math.exp(min(loss / example.supervised_count, _LARGEST_EXPONENT))
        for loss, example in zip(losses, encoded, strict=True)
    ]


def _cut(example: EncodedExample, length: int) -> EncodedExample:
    """The example, shortened as ``--max-length`` asks, but never to a prompt alone."""
    return EncodedExample(example.input_ids[: max(length, example.prompt_length + 1)], example.prompt_length)


def confidences(of_examples: Sequence[Sequence[float]]) -> list[float]:
    """The mean over a training's course of each example's perplexity, negated."""
    return [-sum(values) / len(values) for values in of_examples]


def halves(examples: Sequence[EncodedExample], certainty: Sequence[float]) -> list[list[EncodedExample]]:
    """The examples of higher confidence and the others, in order; of an odd number, the middle one is with the others.

    Of examples that are equally sure the earlier ones come first, so the halves never depend on chance.
    """
    surest = sorted(range(len(examples)), key=lambda index: -certainty[index])
    confident = set(surest[: len(surest) // 2])
    return [
        [example for index, example in enumerate(examples) if (index in confident) == chosen]
        for chosen in (True, False)
    ]


def write_confidences(run: Path, of_examples: Sequence[Sequence[float]]) -> None:
    """Write one row for each example into a run's folder, in the order of the data, with its number there from 1."""
    values = zip(confidences(of_examples), of_examples, strict=True)
    write_json_lines(
        run / _FILE,
        (
            {"row": row, "confidence": confidence, "perplexities": list(at_points)}
            for row, (confidence, at_points) in enumerate(values, start=1)
        ),
    )
