"""Prepare a rating: the responses of the runs, the plan of all screens, and the file that votes go to."""

from typing import Any

from response_tuning.people.create_store import create_store
from response_tuning.people.plan import plan_assignments
from response_tuning.people.prompts import rating_prompts
from response_tuning.people.protocol import Protocol, read_protocol
from response_tuning.people.rating_config import RateConfig
from response_tuning.people.store import DATABASE, Store, open_store
from response_tuning.support.errors import UserError
from response_tuning.support.progress import say

__all__ = ["prepare_rating", "rating_links"]

_DO_NOT_CHANGE_IT = {
    *("host", "port", "certificate", "key", "prepare_only", "output"),
    *("device", "batch_size", "offline"),
}
"""Options that a rating does not depend on."""


def prepare_rating(config: RateConfig) -> Store:
    """The rating of a configuration: opened, if its folder holds it, or made.

    Responses that exist are not generated again.

    Raises:
        UserError: no run is named, or fewer than the protocol needs, the prompts are bad, a run cannot be loaded, or
            the folder holds another rating.
    """
    protocol = read_protocol(config.protocol)
    if (config.output / DATABASE).is_file():
        return _reopened(config, protocol)
    _require_possible(config, protocol)
    prompts = rating_prompts(config.prompts, most=config.max_prompts, seed=config.seed, offline=config.offline)
    texts = [prompt.text for prompt in prompts]
    from response_tuning.people.responses import responses_of  # loads torch, which a server of a rating does not need

    of_runs = [responses_of(config, run, texts) for run in config.runs]
    responses = [list(of_prompt) for of_prompt in zip(*of_runs, strict=True)]
    training = protocol.training if config.training else ()
    checks = protocol.attention_checks[: config.attention_checks]
    assignments = plan_assignments(
        responses,
        raters=config.raters,
        overlap=config.overlap,
        pairs=bool(protocol.preference),
        seed=config.seed,
        training=len(training),
        checks=len(checks),
    )
    if not assignments:
        raise UserError("All responses are the same in all runs: there is nothing to rate.")
    store = create_store(
        config.output / DATABASE,
        protocol=protocol,
        runs=config.runs,
        prompts=texts,
        responses=responses,
        assignments=assignments,
        raters=config.raters,
        training=training,
        checks=checks,
        held=[number for number, prompt in enumerate(prompts) if prompt.flagged] if config.hold_flagged else [],
        settings=_settings(config),
    )
    say(f"{len(assignments):,} screens for {config.raters} raters: {len(prompts)} prompts, {len(config.runs)} runs")
    return store


def _require_possible(config: RateConfig, protocol: Protocol) -> None:
    """Find out what is wrong before any response is generated.

    Raises:
        UserError: the options do not fit the protocol or each other.
    """
    if not config.runs:
        raise UserError(f"{config.output} holds no rating yet. Name the runs: rt rate RUN RUN --prompts FILE")
    if len(set(config.runs)) < len(config.runs):
        raise UserError("A run is named twice. Name each once.")
    if protocol.preference and len(config.runs) < 2:
        raise UserError(f"The protocol {protocol.name} compares runs, and there is one. Name two or more.")
    if config.training and not protocol.training:
        raise UserError(
            f"The protocol {protocol.name} has no training round. Add 'training' to it, or leave out --training."
        )
    if config.attention_checks > len(protocol.attention_checks):
        raise UserError(
            f"The protocol {protocol.name} has {len(protocol.attention_checks)} attention checks. Lower "
            "--attention-checks, or add some to 'attention_checks' in a YAML file."
        )


def _reopened(config: RateConfig, protocol: Protocol) -> Store:
    store = open_store(config.output)
    if not config.runs:
        return store
    planned, now = store.settings, _settings(config)
    changed = [name for name, value in now.items() if planned.get(name) != value]
    if store.protocol != protocol and not changed:
        changed, planned, now = ["protocol"], {"protocol": "another content"}, {"protocol": config.protocol}
    if changed:
        name = changed[0]
        store.close()
        raise UserError(
            f"{config.output} holds a rating that was planned with {name} {planned.get(name)!r}, and not "
            f"{now[name]!r}. Choose another --output, or leave out the runs to resume it: "
            f"rt rate --output {config.output}"
        )
    return store


def _settings(config: RateConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude=_DO_NOT_CHANGE_IT)


def rating_links(store: Store, address: str) -> tuple[list[str], str]:
    """The link of each rater, and the administrator's.

    Args:
        store: The rating.
        address: Where the server is, such as "http://127.0.0.1:8765".
    """
    raters = [f"{address}/rate/{token}" for token in store.rater_tokens]
    return raters, f"{address}/admin/{store.admin_token}"
