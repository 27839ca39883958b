"""The judge-free probe: does a model do what held-out instructions ask, and is it correct?

Rates over the held-out instructions, with greedy decoding:

    follows    the response does what was asked, right or wrong, by the checks of its row (``evaluation.checks``)
    correct    it follows, is right, and stopped; rows whose checks run code count with ``run_code`` only
    responds   it does what was asked, judged against the reference (``shared.responds``), for rows without checks
    stops      the response ends within the limit
    loops      it repeats itself (``text_measures.loops``)
    copies     it mostly copies its instruction (``text_measures.copies``)
    on_topic   its own instruction is the nearest of all by sentence embedding

With ``cut_at_turn``, the same of each response up to the first turn that it invents, as ``follows_cut`` and so on. With
``ranking``, whether the model matches responses to instructions (``evaluation.probe.ranking``):

    ranks, ranks_hard           the proportion of comparisons in which the paired response is likelier than the response
                                of another instruction, drawn at random or most similar to the paired one
    ranks_pmi, ranks_hard_pmi   with ``pmi``, the same by how much the instruction raises the log-likelihood
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from response_tuning.conversation import FORMATS
from response_tuning.evaluation.checks.checked_rows import CheckedExamples, load_checked_examples
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.probe.ranking import RANKINGS, rank_responses
from response_tuning.evaluation.probe.readings import CUT, MEASURES, read_responses
from response_tuning.evaluation.probe.responses_file import join_responses
from response_tuning.evaluation.probe.turns import cut_at_turn
from response_tuning.evaluation.shared.answering import answer_all, backend_of, respond_here
from response_tuning.evaluation.shared.evaluate_unjudged import Measurement, evaluate_unjudged
from response_tuning.evaluation.shared.known_agreement import agreement_facts
from response_tuning.evaluation.shared.results import results_folder, save_metrics, save_responses
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.example import require_prompts
from response_tuning.inference.generate import Response
from response_tuning.runs.load import load_run
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines, write_json, write_json_lines
from response_tuning.support.progress import say

__all__ = ["METRICS", "FormatComparison", "ProbeResult", "compare_formats", "probe", "probe_responses"]

METRICS = (*MEASURES, *(f"{name}{CUT}" for name in MEASURES), *RANKINGS)
"""Every metric that a probe may have, in the order of tables."""
_ALWAYS = {"stops", "loops", "copies", "on_topic"}
_UNSAVED = {"output", "formats", "checkpoints", "responses"}


@dataclass(frozen=True)
class ProbeResult:
    """The estimates, and the responses behind them."""

    metrics: dict[str, Estimate]
    """By name; ``n`` counts the prompts that have the measure."""
    rows: list[dict[str, Any]]
    """Per response: prompt, completion (the reference), response, token_count, verdicts, ``failed`` (the checks that it
    failed), and ``values``, a number per metric. Cut responses are ``response_cut`` and ``failed_cut``."""


@dataclass(frozen=True)
class FormatComparison:
    """The probe's estimates per chat format, and the format that a base model answers best under."""

    metrics: dict[str, dict[str, Estimate]]
    best: str


def probe(config: ProbeConfig) -> ProbeResult:
    """Probe one model and save ``metrics.json``, ``responses.jsonl`` and a log for ``inspect view``.

    A finished probe with the same settings is read from its folder; an interrupted one resumes.

    Raises:
        UserError: bad data, bad checks, data without prompts, or a model that cannot be loaded.
    """
    asked = _held_out(config)

    def measure(folder: Path) -> Measurement[ProbeResult]:
        responses, backend, rankings = _answer(config, asked, folder)
        cut = partial(cut_at_turn, format_name=backend["format"]) if config.cut_at_turn else None
        rows = read_responses(asked, responses, run_code=config.run_code, cut=cut)
        for row, ranking in zip(rows, rankings, strict=True):
            row["values"] |= ranking
        result = ProbeResult(_estimates(rows), rows)
        return Measurement(result, backend, facts={"agreement": agreement_facts(result.metrics)})

    result = evaluate_unjudged(
        config,
        "probe",
        measure=measure,
        settings=config.model_dump(mode="json", exclude=_UNSAVED),
        read=partial(_read, config),
        data=[example.model_dump(mode="json", exclude_none=True) for example in asked.examples],
    )
    _explain(result)
    return result


def probe_responses(config: ProbeConfig) -> ProbeResult:
    """Measure the responses of a file (``config.responses``) without a model; save them if there is an ``output``.

    Where a prompt has several responses, its value is their mean, so that ``n`` counts prompts.

    Raises:
        UserError: an option needs a model, the data or the file is bad, or they have no prompt in common.
    """
    assert config.responses is not None
    _refuse_model_options(config)
    joined = join_responses(config.responses, _held_out(config), source=config.data)
    cut = partial(cut_at_turn, format_name=None if config.format == "auto" else config.format)
    rows = read_responses(
        joined.asked, joined.responses, run_code=config.run_code, cut=cut if config.cut_at_turn else None
    )
    for row, is_known in zip(rows, joined.stop_is_known, strict=True):
        if not is_known:
            row["values"] = {name: value for name, value in row["values"].items() if name != "stops"}
    result = ProbeResult(_estimates(rows), rows)
    if config.output is not None:
        folder = results_folder(config.model, "probe", config.output)
        save_responses(folder, "probe", model=config.model, rows=rows)
        settings = config.model_dump(mode="json", exclude={"output"})
        agreement = agreement_facts(result.metrics)
        save_metrics(folder, "probe", metrics=result.metrics, settings=settings, backend={}, agreement=agreement)
    _explain(result)
    return result


def _refuse_model_options(config: ProbeConfig) -> None:
    for option in ("formats", "checkpoints", "tokens", "ranking"):
        if getattr(config, option):
            raise UserError(f"--{option} needs a model. Leave out --{option}, or --responses {config.responses}.")


def _answer(
    config: ProbeConfig, asked: CheckedExamples, folder: Path
) -> tuple[list[Response], dict[str, str | None], list[dict[str, float]]]:
    """The model's responses, what made them, and per example its rankings (empty without ``ranking``)."""
    if not config.ranking:
        return *respond_here(config, asked.prompts, folder=folder), [{} for _ in asked.examples]
    others = max(config.others, config.hard_others)
    if len(asked.examples) <= others:
        raise UserError(
            f"{config.data} has {len(asked.examples)} examples; ranking each against {others} others needs at least "
            f"{others + 1}. Lower --others and --hard-others, give more data, or leave out --ranking."
        )
    run = load_run(config.model, config.format, dtype=config.dtype, device=config.device)
    responses = answer_all(run, asked.prompts, config=config, folder=folder)
    rankings = rank_responses(
        run,
        asked.examples,
        others=config.others,
        hard_others=config.hard_others,
        seed=config.seed,
        pmi=config.pmi,
    )
    return responses, backend_of(run, dtype=config.dtype), rankings


def _explain(result: ProbeResult) -> None:
    """Log what the metrics leave out."""
    untested = sum(row.get("follows") is not None and row["correct"] is None for row in result.rows)
    if untested:
        say(
            f"{untested} responses follow and have checks that run their code: they are left out of 'correct'. "
            "--run-code runs it, in a subprocess with limits."
        )


def compare_formats(config: ProbeConfig) -> FormatComparison:
    """Probe one model under every named chat format and save ``formats.json``.

    Responses are also read up to the first invented turn. The best format has the highest rate of cut responses that
    follow or, where no row has checks, that are on topic and copy nothing; fewer loops break ties.

    Raises:
        UserError: the options contradict each other; or as ``probe``.
    """
    if config.checkpoints:
        raise UserError(
            "--formats compares chat formats on one model, --checkpoints measures a run in the format it was trained "
            "with. Choose one of the two."
        )
    if config.format != "auto":
        raise UserError(f"--formats measures every chat format. Leave out --format {config.format}, or --formats.")
    asked = _held_out(config)
    folder = results_folder(config.model, "probe", config.output) / "formats"
    compared: dict[str, dict[str, Estimate]] = {}
    for name in FORMATS:
        of_format = config.model_copy(update={"format": name})
        responses, _, rankings = _answer(of_format, asked, folder / name)
        cut = partial(cut_at_turn, format_name=name)
        rows = read_responses(asked, responses, run_code=config.run_code, cut=cut)
        for row, ranking in zip(rows, rankings, strict=True):
            row["values"] |= ranking
        compared[name] = _estimates(rows)
        compared[name]["on_topic, no copy"] = estimate_mean([_usable(row) for row in rows])
        write_json_lines(folder / name / "responses.jsonl", rows)
    comparison = FormatComparison(compared, max(compared, key=lambda name: _quality(compared[name])))
    write_json(folder / "formats.json", {"best": comparison.best, "formats": asdict(comparison)["metrics"]})
    return comparison


def _usable(row: Mapping[str, Any]) -> float:
    values = row["values"]
    return float(values[f"on_topic{CUT}"] and not values[f"copies{CUT}"])


def _quality(metrics: Mapping[str, Estimate]) -> tuple[float, float]:
    best = metrics.get(f"follows{CUT}", metrics["on_topic, no copy"])
    return best.value, -metrics[f"loops{CUT}"].value


def _held_out(config: ProbeConfig) -> CheckedExamples:
    asked = load_checked_examples(config.data)
    require_prompts(asked.examples, source=config.data, purpose="the probe")
    return asked.first(config.max_examples)


def _read(config: ProbeConfig, saved: Mapping[str, Any], folder: Path) -> ProbeResult | None:
    """A finished probe; None where an older version left out a metric."""
    wanted = _ALWAYS | ({"ranks", "ranks_hard"} if config.ranking else set())
    if not wanted <= set(saved["metrics"]) or "answers" in saved["metrics"]:
        return None
    metrics = {name: Estimate(**estimate) for name, estimate in saved["metrics"].items()}
    return ProbeResult(metrics, read_json_lines(folder / "responses.jsonl"))


def _estimates(rows: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    """Per metric, the mean over the prompts that have it, each with the mean of its responses."""
    by_prompt: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        for name, value in row["values"].items():
            by_prompt.setdefault(name, {}).setdefault(row["prompt"], []).append(value)
    return {
        name: estimate_mean([sum(values) / len(values) for values in by_prompt[name].values()])
        for name in METRICS
        if name in by_prompt
    }
