"""``rt probe --tokens``: where does a run say something else than the model that it was made from?

Saved like an evaluation in ``evaluations/token_shift``, so ``rt compare`` reads it. ``metrics.json`` also has the rates
by position and the most shifted tokens; ``responses.jsonl`` every position of every response.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from response_tuning.data.sources.load_examples import load_examples
from response_tuning.evaluation.probe.probe_config import ProbeConfig
from response_tuning.evaluation.shared.answering import answer_all, backend_of
from response_tuning.evaluation.shared.evaluate_unjudged import Measurement, evaluate_unjudged
from response_tuning.evaluation.shared.results import results_folder
from response_tuning.evaluation.shared.statistics import Estimate, estimate_mean, estimate_ratio
from response_tuning.evaluation.token_shift.base import Base, base_of
from response_tuning.evaluation.token_shift.positions import Asked, Position, compare_positions
from response_tuning.evaluation.token_shift.shift_report import TOKEN_SHIFT
from response_tuning.evaluation.token_shift.summary import METRICS, Bin, ShiftedToken, bins, shifted_tokens, values_of
from response_tuning.example import Example, require_prompts
from response_tuning.inference.generate import Response
from response_tuning.inference.responder import Responder
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.runs.contract import Run
from response_tuning.runs.folder import evaluation_folder
from response_tuning.runs.load import load_run
from response_tuning.runs.local import responder_of
from response_tuning.support.errors import UserError
from response_tuning.support.files import read_json_lines
from response_tuning.support.progress import progress_bar

__all__ = ["TokenShift", "probe_tokens"]

_SETTINGS = ("model", "data", "format", "max_examples", "max_new_tokens", "dtype")


@dataclass(frozen=True)
class TokenShift:
    """How a run differs from its base model, token by token."""

    metrics: dict[str, Estimate]
    """Rates of unshifted, marginal and shifted tokens; the mean over responses of KL(run || base) [nats per token]; and
    ``first_divergence``, the mean number of tokens before the first position at which the two choices differ."""
    rows: list[dict[str, Any]]
    """Per instruction: prompt, completion (the reference), response, ``values``, and ``tokens``: at each position the
    token, the run's choice, the base model's choice, the rank of the former with the base model, and KL."""
    bins: list[Bin]
    tokens: list[ShiftedToken]
    base: str
    """The spec of the base model."""
    own_choices: float
    """The rate of positions whose token is the run's choice. On its own responses it is 1, but for texts that are
    tokenized otherwise than they were generated."""


def probe_tokens(config: ProbeConfig) -> TokenShift:
    """Compare a run with its base model on the same responses, token by token, and save the result.

    Finished with the same settings, it is read from its folder.

    Raises:
        UserError: the run was made from no other model, the options contradict each other, or the responses of
            ``config.tokens_on`` are not there; or as ``probe``.
    """
    if config.formats or config.checkpoints:
        raise UserError("--tokens compares a run with its base model. Leave out --formats and --checkpoints.")
    examples = load_examples(config.data)
    require_prompts(examples, source=config.data, purpose="the probe")
    examples = examples[: config.max_examples]
    kept = {} if config.tokens_on in ("own", "references") else _responses_of(config.tokens_on, config.data, examples)

    def measure(_: Path) -> Measurement[TokenShift]:
        run = load_run(config.model, config.format, dtype=config.dtype, device=config.device)
        responder = responder_of(run, purpose="--tokens")
        base = base_of(config.model, responder, dtype=config.dtype, device=config.device)
        responses = _responses(config, run, examples, kept)
        result = _measure(responder, base, examples, responses)
        facts = {
            "base": base.spec,
            "base_fingerprint": model_fingerprint(base.spec),
            "bins": [asdict(each) for each in result.bins],
            "tokens": [asdict(each) for each in result.tokens],
            "own_choices": result.own_choices,
        }
        return Measurement(result, backend_of(run, dtype=config.dtype), facts=facts)

    return evaluate_unjudged(
        config,
        TOKEN_SHIFT,
        measure=measure,
        settings={**config.model_dump(mode="json", include=set(_SETTINGS)), "tokens_on": config.tokens_on},
        read=_read,
        data=[example.model_dump(mode="json", exclude_none=True) for example in examples],
    )


def _read(saved: Mapping[str, Any], folder: Path) -> TokenShift:
    return TokenShift(
        {name: Estimate(**estimate) for name, estimate in saved["metrics"].items()},
        read_json_lines(folder / "responses.jsonl"),
        [Bin(**each) for each in saved["bins"]],
        [ShiftedToken(**each) for each in saved["tokens"]],
        saved["base"],
        saved["own_choices"],
    )


def _responses_of(run: str, data: str, examples: Sequence[Example]) -> dict[str, Response]:
    """The responses that another run gave in its probe, by instruction.

    Raises:
        UserError: it was not probed, or not on all of these instructions.
    """
    path = evaluation_folder(run, "probe") / "responses.jsonl"
    if not path.exists():
        raise UserError(f"--tokens-on {run}: there are no responses in {path}. Probe it first.")
    rows = {row["prompt"]: row for row in read_json_lines(path)}
    missing = [example.prompt for example in examples if example.prompt not in rows]
    if missing:
        raise UserError(f"--tokens-on {run}: {path} has no response to {len(missing)} instructions of {data}.")
    return {prompt: Response(row["response"], row["token_count"], row["stops"]) for prompt, row in rows.items()}


def _responses(
    config: ProbeConfig, run: Run, examples: Sequence[Example], kept: Mapping[str, Response]
) -> list[Response]:
    """The responses that both models read."""
    instructions = [example.prompt or "" for example in examples]
    if config.tokens_on == "references":
        return [Response(example.completion, 0, stopped=True) for example in examples]
    if config.tokens_on != "own":
        return [kept[instruction] for instruction in instructions]
    # In the folder of the probe, which may have answered already.
    return answer_all(run, instructions, config=config, folder=results_folder(config.model, "probe", None))


def _measure(run: Responder, base: Base, examples: Sequence[Example], responses: Sequence[Response]) -> TokenShift:
    asked = [
        Asked(
            run.conversation.prompt_ids(example.prompt or ""),
            base.responder.conversation.prompt_ids(example.prompt or ""),
            run.conversation.response_ids(response.text, ended=response.stopped),
        )
        for example, response in zip(examples, responses, strict=True)
    ]
    with progress_bar("comparing tokens", len(asked)) as bar:
        compared = compare_positions(run, base.responder, asked, bar=bar)

    def text_of(token: int) -> str:
        return str(run.loaded.tokenizer.decode([token], clean_up_tokenization_spaces=False))

    rows = [
        {
            "prompt": example.prompt,
            "completion": example.completion,
            "response": response.text,
            "values": values_of(positions),
            "tokens": [_row_of(position, text_of) for position in positions],
        }
        for example, response, positions in zip(examples, responses, compared, strict=True)
    ]
    metrics = _metrics(rows)
    own = [position.choice == position.token for positions in compared for position in positions]
    return TokenShift(metrics, rows, bins(compared), shifted_tokens(compared, text_of), base.spec, round(fmean(own), 4))


def _row_of(position: Position, text_of: Any) -> list[str | int | float]:
    choices = [text_of(token) for token in (position.token, position.choice, position.base_choice)]
    return [*choices, position.base_rank, round(position.kl, 4)]


def _metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, Estimate]:
    values = [row["values"] for row in rows if row["values"]]
    if not values:
        raise UserError("All responses are empty: there are no tokens to compare.")
    rates, means = METRICS[:3], METRICS[3:]
    ratios = {name: estimate_ratio(*zip(*(each[name] for each in values), strict=True)) for name in rates}
    return ratios | {name: estimate_mean([each[name] for each in values]) for name in means}
