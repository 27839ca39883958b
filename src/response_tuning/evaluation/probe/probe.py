"""The judge-free probe: does a model answer held-out instructions, and does it match responses to instructions?

Rates over the held-out instructions, with greedy decoding:

    stops      the response ends within the limit
    loops      it repeats itself (``text_measures.loops``)
    copies     it mostly copies its instruction (``text_measures.copies``)
    on_topic   its own instruction is the nearest of all by sentence embedding
    responds   it does what was asked, right or wrong, judged against the reference (``shared.responds``)
    ranks      the proportion of comparisons in which the paired response is likelier (mean token log-likelihood,
               including the stop token) than another instruction's response; after Hewitt et al. 2024, response ranking
    ranks_hard, ranks_pmi, ranks_hard_pmi
               the same against the responses most similar to the paired one (hard), and by how much the instruction
               raises the log-likelihood of a response (pmi): ``evaluation.probe.ranking``
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from response_tuning.conversation import FORMATS
from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.probe.ranking import RANKINGS, rank_responses
from response_tuning.evaluation.shared.answering import answer_all, backend_of
from response_tuning.evaluation.shared.evaluate_unjudged import Measurement, evaluate_unjudged
from response_tuning.evaluation.shared.known_agreement import agreement_facts
from response_tuning.evaluation.shared.response_verdicts import response_verdicts
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean
from response_tuning.example import Example, require_prompts
from response_tuning.inference.generate import Response
from response_tuning.runs.contract import Run
from response_tuning.runs.load import load_run
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines, write_json, write_json_lines

__all__ = ["METRICS", "FormatComparison", "ProbeResult", "compare_formats", "probe"]

METRICS = ("stops", "loops", "copies", "on_topic", "responds", *RANKINGS)


@dataclass(frozen=True)
class ProbeResult:
    """The estimates, and the responses behind them."""

    metrics: dict[str, Estimate]
    rows: list[dict[str, Any]]
    """Per instruction: prompt, completion (the reference), response, token_count, verdicts, and ``values``, a number
    per metric."""


@dataclass(frozen=True)
class FormatComparison:
    """The probe's estimates per chat format, and the format that a base model answers best under."""

    metrics: dict[str, dict[str, Estimate]]
    best: str


def probe(config: ProbeConfig) -> ProbeResult:
    """Probe one model and save ``metrics.json``, ``responses.jsonl`` and a log for ``inspect view``.

    A finished probe with the same settings is read from its folder; an interrupted one resumes.

    Raises:
        UserError: bad data, data without prompts, or a model that cannot be loaded.
    """
    examples = _held_out(config)

    def measure(folder: Path) -> Measurement[ProbeResult]:
        run = load_run(config.model, config.format, dtype=config.dtype, device=config.device)
        responses = answer_all(run, _instructions(examples), config=config, folder=folder)
        result = _measure(run, examples, responses, config)
        return Measurement(result, backend_of(run, dtype=config.dtype), facts={"agreement": agreement_facts(METRICS)})

    return evaluate_unjudged(
        config,
        "probe",
        measure=measure,
        settings=config.model_dump(mode="json", exclude={"output", "formats", "checkpoints"}),
        read=_read,
        data=[example.model_dump(mode="json", exclude_none=True) for example in examples],
    )


def compare_formats(config: ProbeConfig) -> FormatComparison:
    """Probe one model under every named chat format and save ``formats.json``.

    The best format has the highest rate of responses that are on topic and copy nothing; ``ranks`` breaks ties.

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
    examples = _held_out(config)
    folder = results_folder(config.model, "probe", config.output) / "formats"
    compared: dict[str, dict[str, Estimate]] = {}
    quality: dict[str, tuple[float, float]] = {}
    for name in FORMATS:
        of_format = config.model_copy(update={"format": name})
        run = load_run(config.model, name, dtype=config.dtype, device=config.device)
        responses = answer_all(run, _instructions(examples), config=of_format, folder=folder / name)
        result = _measure(run, examples, responses, config)
        compared[name] = result.metrics
        usable = estimate_mean([float(row["on_topic"] and not row["copies"]) for row in result.rows])
        compared[name]["on_topic, no copy"] = usable
        quality[name] = (usable.value, result.metrics["ranks"].value)
        write_json_lines(folder / name / "responses.jsonl", result.rows)
    comparison = FormatComparison(compared, max(quality, key=lambda name: quality[name]))
    write_json(folder / "formats.json", {"best": comparison.best, "formats": asdict(comparison)["metrics"]})
    return comparison


def _held_out(config: ProbeConfig) -> list[Example]:
    examples = load_examples(config.data)
    require_prompts(examples, source=config.data, purpose="the probe")
    examples = examples[: config.max_examples]
    others = max(config.others, config.hard_others)
    if len(examples) <= others:
        raise UserError(
            f"{config.data} has {len(examples)} examples; ranking each against {others} others needs at least "
            f"{others + 1}. Lower --others and --hard-others or give more data."
        )
    return examples


def _read(saved: Mapping[str, Any], folder: Path) -> ProbeResult | None:
    """A finished probe; None where an older version left out a metric."""
    if set(saved["metrics"]) != set(METRICS):
        return None
    metrics = {name: Estimate(**estimate) for name, estimate in saved["metrics"].items()}
    return ProbeResult(metrics, read_json_lines(folder / "responses.jsonl"))


def _instructions(examples: Sequence[Example]) -> list[str]:
    return [example.prompt or "" for example in examples]


def _measure(
    run: Run,
    examples: Sequence[Example],
    responses: Sequence[Response],
    config: ProbeConfig,
) -> ProbeResult:
    judged = response_verdicts(_instructions(examples), responses, [example.completion for example in examples])
    rankings = rank_responses(run, examples, others=config.others, hard_others=config.hard_others, seed=config.seed)
    rows: list[dict[str, Any]] = []
    for example, response, (rank, verdicts), ranking in zip(examples, responses, judged, rankings, strict=True):
        rows.append(
            {
                "prompt": example.prompt,
                "completion": example.completion,
                "response": response.text,
                "token_count": response.token_count,
                "instruction_rank": rank,
                **verdicts,
                "values": {name: float(value) for name, value in (verdicts | ranking).items()},
            }
        )
    return ProbeResult({name: estimate_mean([row["values"][name] for row in rows]) for name in METRICS}, rows)
