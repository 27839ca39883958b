"""The responses that are rated: those that exist, from any evaluation of a run or from a file, and the missing ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from response_tuning.data.sources.readers import read_file
from response_tuning.evaluation.registry import evaluations
from response_tuning.evaluation.shared.answering import respond_here, saved_responses
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.models.dtype import fixed_dtype
from response_tuning.models.spec import is_local
from response_tuning.people.rating_config import RateConfig
from response_tuning.runs.folder import evaluation_folder
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName
from response_tuning.support.progress import say
from response_tuning.support.records import BadRow, preview

__all__ = ["is_file_of_responses", "responses_of"]

_FIELDS = (("prompt", "instruction"), ("response", "output", "completion"))
"""Names of a prompt and of a response, the first one that a row has."""


@dataclass(frozen=True)
class _Answerer:
    """One run, and how it answers."""

    model: str
    format: FormatName | Literal["auto"]
    max_new_tokens: int
    batch_size: int
    dtype: Dtype
    device: Device
    best_of: int = 1
    judge_run: str | None = None


def is_file_of_responses(run: str) -> bool:
    """Whether a run is named by a file of responses."""
    return Path(run).suffix in (".json", ".jsonl")


def responses_of(config: RateConfig, run: str, prompts: Sequence[str]) -> list[str]:
    """The responses of one run to all prompts, in their order.

    Those that any evaluation of the run has saved under the same settings are used; the others are generated and saved.

    Args:
        config: How to answer.
        run: A run, another model, or a file of responses.
        prompts: What is asked.

    Raises:
        UserError: the run cannot be loaded or asked, or a file of responses is bad or lacks a prompt.
    """
    if is_file_of_responses(run):
        return _of_file(Path(run), prompts)
    if not is_local(run):
        raise UserError(
            f"{run} is behind a server. Save its responses to a file with 'prompt' and 'response' in each row, and "
            "name that file instead."
        )
    folder = results_folder(run, "rating", None)
    dtype = fixed_dtype(config.dtype, config.device)
    answerer = _Answerer(run, "auto", config.max_new_tokens, config.batch_size, dtype, config.device)
    texts: dict[str, str] = {}
    for other in [folder, *(evaluation_folder(run, name) for name in evaluations())]:
        missing = [prompt for prompt in prompts if prompt not in texts]
        if missing and other.is_dir():
            texts |= {prompt: each.text for prompt, each in saved_responses(answerer, missing, folder=other).items()}
    missing = [prompt for prompt in prompts if prompt not in texts]
    if missing:
        say(f"{run}: {len(missing):,} of {len(prompts):,} responses are missing and are generated")
        generated, _ = respond_here(answerer, missing, folder=folder)
        texts |= {prompt: each.text for prompt, each in zip(missing, generated, strict=True)}
    return [texts[prompt] for prompt in prompts]


def _of_file(path: Path, prompts: Sequence[str]) -> list[str]:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    found: dict[str, str] = {}
    for record in read_file(path):
        if isinstance(record, BadRow):
            raise UserError(str(record))
        row = record.value
        values = [next((row[name] for name in names if name in row), None) for names in _FIELDS]
        if not all(isinstance(value, str) for value in values):
            names = ", ".join(map(str, row)) or "no fields"
            raise UserError(f"{record.place}: should have a text 'prompt' and a text 'response', and has: {names}")
        prompt, response = map(str, values)
        found.setdefault(prompt.strip(), response)
    missing = [prompt for prompt in prompts if prompt.strip() not in found]
    if missing:
        raise UserError(
            f"{path} has no response to {len(missing):,} of {len(prompts):,} prompts, such as {preview(missing[0])}. "
            "Add them, or name the prompts that it answers: --prompts FILE"
        )
    return [found[prompt.strip()] for prompt in prompts]
