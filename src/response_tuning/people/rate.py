"""Prepare a rating: the responses of the runs, the plan of all screens, and the file that votes go to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.shared.answering import respond_here
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.example import require_prompts
from response_tuning.people.plan import plan_assignments
from response_tuning.people.protocol import read_protocol
from response_tuning.people.rating_config import RateConfig
from response_tuning.people.store import DATABASE, Store, create_store, open_store
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName
from response_tuning.support.progress import say

__all__ = ["prepare_rating"]

_SERVING = {"host", "port", "certificate", "key", "output", "device", "batch_size"}
"""Options that do not change a rating."""


@dataclass(frozen=True)
class _Answerer:
    """One run, and how it answers."""

    model: str
    format: FormatName | Literal["auto"]
    max_new_tokens: int
    batch_size: int
    dtype: Dtype
    device: Device


def prepare_rating(config: RateConfig) -> Store:
    """The rating of a configuration: opened, if its folder holds it, or made.

    Responses that exist are not generated again.

    Raises:
        UserError: no run is named, or fewer than the protocol needs, the prompts are bad, a run cannot be loaded, or
            the folder holds another rating.
    """
    if (config.output / DATABASE).is_file():
        return _reopened(config)
    if not config.runs:
        raise UserError(f"{config.output} holds no rating yet. Name the runs: rt rate RUN RUN --prompts FILE.")
    protocol = read_protocol(config.protocol)
    if protocol.preference and len(config.runs) < 2:
        raise UserError(f"The protocol {protocol.name} compares runs, and there is one. Name two or more.")
    if len(set(config.runs)) < len(config.runs):
        raise UserError("A run is named twice. Name each once.")
    prompts = _prompts(config)
    of_runs = [_responses(config, run, prompts) for run in config.runs]
    responses = [list(texts) for texts in zip(*of_runs, strict=True)]
    assignments = plan_assignments(
        responses, raters=config.raters, overlap=config.overlap, pairs=bool(protocol.preference), seed=config.seed
    )
    if not assignments:
        raise UserError("All responses are the same in all runs: there is nothing to rate.")
    store = create_store(
        config.output / DATABASE,
        protocol=protocol,
        runs=config.runs,
        prompts=prompts,
        responses=responses,
        assignments=assignments,
        raters=config.raters,
        settings=_settings(config),
    )
    say(f"{len(assignments):,} screens for {config.raters} raters: {len(prompts)} prompts, {len(config.runs)} runs")
    return store


def _reopened(config: RateConfig) -> Store:
    store = open_store(config.output)
    settings = store.fact("settings")
    changed = [name for name, value in _settings(config).items() if settings.get(name) != value]
    if config.runs and changed:
        raise UserError(
            f"{config.output} holds a rating with another {changed[0]}: {settings.get(changed[0])!r} there, "
            f"{_settings(config)[changed[0]]!r} now. Choose another --output, or leave the runs out to go on with it."
        )
    return store


def _settings(config: RateConfig) -> dict[str, object]:
    return dict(config.model_dump(mode="json", exclude=_SERVING))


def _prompts(config: RateConfig) -> list[str]:
    examples = load_examples(config.prompts)[: config.max_prompts]
    require_prompts(examples, source=config.prompts, purpose="a rating")
    return list(dict.fromkeys(example.prompt or "" for example in examples))


def _responses(config: RateConfig, run: str, prompts: list[str]) -> list[str]:
    folder = results_folder(run, "rating", None)
    answerer = _Answerer(run, "auto", config.max_new_tokens, config.batch_size, config.dtype, config.device)
    responses, _ = respond_here(answerer, prompts, folder=folder)
    return [response.text for response in responses]


def rating_links(store: Store, address: str) -> tuple[list[str], str]:
    """The link of each rater, and the administrator's."""
    raters = [f"{address}/rate/{token}" for token in store.rater_tokens]
    return raters, f"{address}/admin/{store.admin_token}"


def folder_of(store: Store) -> Path:
    """The folder of an open rating."""
    return store.path.parent
