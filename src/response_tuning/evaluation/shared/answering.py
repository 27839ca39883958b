"""Responses to a list of instructions, each saved as soon as it exists, so that none is generated twice.

Local models answer in batches in this process; models behind servers are asked through Inspect AI. A response is keyed
by its instruction and by the model and settings that made it: after fifty prompts, only the others are answered, and
another model or other settings start from nothing. The limit of tokens is no such setting: a response that ended is
valid under every limit that it keeps, and one that was cut off under its own alone. With ``--best-of`` a response is
the one of several samples that a trained judge grades highest. Batching may change the rounding of
bf16 numbers and so, rarely, a word; a saved response is the one of the batch that it was generated in.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from response_tuning.asking.ask import Answer, Failure, Question, require_model_to_ask
from response_tuning.asking.ask_once import ask_once, failure_state, forecast, outcome_of
from response_tuning.asking.ask_options import AskOptions
from response_tuning.asking.ledger import Record, Row, open_ledger, read_ledger
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions
from response_tuning.inference.generate import Response
from response_tuning.inference.responder import PromptTooLongError
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.spec import is_local
from response_tuning.runs.best_of import best_responses
from response_tuning.runs.contract import Run
from response_tuning.runs.judge import load_judge, require_judge
from response_tuning.runs.load import load_run
from response_tuning.runs.local import LocalRun, answer_in_batches, responder_of
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype, FormatName
from response_tuning.support.progress import progress_bar, say
from response_tuning.support.records import preview

__all__ = [
    "ANSWER_CHARACTERS",
    "Answered",
    "Answering",
    "answer_all",
    "answer_row",
    "answering_options",
    "backend_of",
    "require_judges",
    "respond",
    "respond_here",
    "response_of",
    "saved_responses",
]

ANSWER_CHARACTERS = 1_000
"""Expected of a response; only for forecasts."""
_KEY_CHARACTERS = 16

_LEDGER = "generations.jsonl"
_IDENTITY = {"record": "greedy responses of models in this process"}


class Answering(Protocol):
    """Options that name the model and how it answers."""

    @property
    def model(self) -> str: ...
    @property
    def format(self) -> FormatName | Literal["auto"]: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def dtype(self) -> Dtype: ...
    @property
    def device(self) -> Device: ...
    @property
    def best_of(self) -> int: ...
    @property
    def judge_run(self) -> str | None: ...


@dataclass(frozen=True)
class Answered:
    """The responses of one model, and what made them."""

    responses: list[Response | Failure]
    """In the order of the instructions; a failure where a server returned none after all retries."""
    backend: Mapping[str, str | None]
    """What made them: transformers with dtype, device, chat format and the model's fingerprint, or an Inspect AI
    provider."""

    @property
    def texts(self) -> list[str]:
        """The text of each response; empty for a failure."""
        return ["" if isinstance(response, Failure) else response.text for response in self.responses]


def respond(
    config: JudgedOptions, instructions: Sequence[str], *, folder: Path, judges: Sequence[AskOptions] = ()
) -> Answered | None:
    """Greedy responses of the model that ``config`` names. Where all of them are saved, no model is loaded.

    None after a dry run that would have to ask a server.

    Args:
        config: the model, and how it answers.
        instructions: what it is asked.
        folder: where responses are saved.
        judges: who will judge them, so that a judge that cannot be asked is an error before hours of answering.

    Raises:
        UserError: the model cannot be loaded or asked, or a judge cannot be asked.
    """
    _require_best_of(config)
    if is_local(config.model):
        if not config.dry_run and _kept(config, instructions, folder) is None:
            require_judges(judges)
        generated, backend = respond_here(config, instructions, folder=folder)
        return Answered(list(generated), backend)
    responses = _ask_server(config, instructions, folder, judges)
    return None if responses is None else Answered(responses, {"backend": f"inspect_ai {config.model}"})


def require_judges(judges: Sequence[AskOptions]) -> None:
    """Validate that judges behind servers can be asked, with their keys and packages."""
    for judge in judges:
        require_model_to_ask(judge)


def _require_best_of(config: Answering) -> None:
    """Validate what ``--best-of`` needs, before anything is loaded.

    Raises:
        UserError: the model is behind a server, or there is no judge.
    """
    if config.best_of == 1:
        return
    if not is_local(config.model):
        raise UserError(f"--best-of samples a model in this process, and {config.model} is not. Leave it out.")
    if config.judge_run is None:
        raise UserError(
            "--best-of needs a --judge-run, which rt train --objective self-judge makes of the rows of "
            "rt data judge-set."
        )
    require_judge(config.judge_run)


def respond_here(
    config: Answering, instructions: Sequence[str], *, folder: Path
) -> tuple[list[Response], dict[str, str | None]]:
    """As ``respond``, for a model in this process: its responses, and what made them."""
    _require_best_of(config)
    kept = _kept(config, instructions, folder)
    if kept is not None:
        return kept
    run = load_run(config.model, config.format, dtype=config.dtype, device=config.device)
    generated = answer_all(run, instructions, config=config, folder=folder)
    return generated, backend_of(run, dtype=config.dtype)


def _kept(
    config: Answering, instructions: Sequence[str], folder: Path
) -> tuple[list[Response], dict[str, str | None]] | None:
    """What ``respond_here`` returns, if every instruction has a saved response."""
    made_with = _made_with(config)
    keys = _keys(made_with, instructions)
    rows = _valid(read_ledger(folder / _LEDGER, _IDENTITY), config.max_new_tokens)
    if not rows.keys() >= {made_with, *keys}:
        return None
    return [_response(rows[key]) for key in keys], rows[made_with]["backend"]


def saved_responses(config: Answering, instructions: Sequence[str], *, folder: Path) -> dict[str, Response]:
    """The saved responses by instruction, of those that ``folder`` holds for this model and these settings."""
    keys = _keys(_made_with(config), instructions)
    rows = _valid(read_ledger(folder / _LEDGER, _IDENTITY), config.max_new_tokens)
    return {text: _response(rows[key]) for key, text in zip(keys, instructions, strict=True) if key in rows}


def _valid(record: Record | None, limit: int) -> dict[str, Row]:
    """The rows by key that hold under this limit of tokens, and those that say what made them.

    Earlier versions counted the limit among the settings.
    """
    rows = [] if record is None else record.rows
    makers = {row["key"]: row for row in rows if "settings" in row}
    limits = {key: row["settings"].get("max_new_tokens") for key, row in makers.items()}
    renamed = {key: _digest_of(row["settings"]) for key, row in makers.items()}
    valid: dict[str, Row] = {renamed[key]: row for key, row in makers.items()}
    for row in rows:
        maker, _, instruction = row["key"].partition(":")
        reached = row.get("max_new_tokens", limits.get(maker))
        if instruction and maker in makers and (row["token_count"] <= limit if row["stopped"] else reached == limit):
            valid[f"{renamed[maker]}:{instruction}"] = row
    return valid


def backend_of(run: Run, *, dtype: Dtype) -> dict[str, str | None]:
    """What makes the responses of a run; of one without a model in this process, its kind alone."""
    fingerprint = model_fingerprint(run.spec)
    if not isinstance(run, LocalRun):
        return {"backend": type(run).__name__, "dtype": dtype, "fingerprint": fingerprint}
    return {
        "backend": "transformers",
        "dtype": dtype,
        "device": str(run.responder.loaded.model.device),
        "format": run.responder.conversation.format_name,
        "fingerprint": fingerprint,
    }


def answer_all(run: Run, instructions: Sequence[str], *, config: Answering, folder: Path) -> list[Response]:
    """Greedy responses to all instructions, in their order; equal instructions are answered once.

    Each batch is saved in ``folder`` when it is done; saved responses are not generated again.

    Raises:
        UserError: another process is answering in the same folder.
    """
    made_with = _made_with(config)
    keys = _keys(made_with, instructions)
    with open_ledger(folder / _LEDGER, _IDENTITY) as ledger:
        backend = backend_of(run, dtype=config.dtype)
        maker = {"key": made_with, "settings": _settings(config), "backend": backend}
        if ledger.rows.get(made_with) != maker:
            ledger.add(maker)
        rows = _valid(ledger.record, config.max_new_tokens)
        missing = {key: text for key, text in zip(keys, instructions, strict=True) if key not in rows}
        missing_keys = list(missing)
        with progress_bar("answering", len(set(keys)), done=len(set(keys)) - len(missing)) as bar:
            batches = _batches(run, list(missing.values()), config)
            for batch in _naming_rows(batches, [keys.index(key) for key in missing_keys], instructions):
                for position, response in batch.items():
                    row = {"key": missing_keys[position], **asdict(response), "max_new_tokens": config.max_new_tokens}
                    ledger.add(row)
                    rows[row["key"]] = row
                bar.advance(len(batch))
        return [_response(rows[key]) for key in keys]


def _batches(run: Run, instructions: Sequence[str], config: Answering) -> Iterator[dict[int, Response]]:
    """Responses by the instruction's index, a few at a time: greedy ones, or the best of several samples."""
    if config.best_of == 1 or not instructions:
        return answer_in_batches(run, instructions, max_new_tokens=config.max_new_tokens, batch_size=config.batch_size)
    assert config.judge_run is not None
    judge = load_judge(config.judge_run, dtype=config.dtype, device=config.device)
    responder = responder_of(run, purpose="--best-of")
    return best_responses(responder, judge, instructions, count=config.best_of, max_new_tokens=config.max_new_tokens)


def _naming_rows(
    batches: Iterator[dict[int, Response]], rows: Sequence[int], instructions: Sequence[str]
) -> Iterator[dict[int, Response]]:
    """The batches; an instruction that does not fit is an error with its row, of which ``rows`` has the indices."""
    try:
        yield from batches
    except PromptTooLongError as error:
        row = rows[error.index]
        raise error.named(f"Row {row + 1} of the {len(instructions)} prompts ({preview(instructions[row])})") from None


def _settings(config: Answering) -> dict[str, Any]:
    """What a response depends on, apart from its instruction.

    Not the device or the batch size: responses from before an out-of-memory error remain valid.
    """
    settings: dict[str, Any] = {
        "model": model_fingerprint(config.model) or config.model,
        "format": config.format,
        "dtype": config.dtype,
    }
    if config.best_of > 1 and config.judge_run is not None:
        settings |= {"best_of": config.best_of, "judge_run": model_fingerprint(config.judge_run) or config.judge_run}
    return settings


def _made_with(config: Answering) -> str:
    return _digest_of(_settings(config))


def _digest_of(settings: Mapping[str, Any]) -> str:
    without_limit = {name: value for name, value in settings.items() if name != "max_new_tokens"}
    return _digest(json.dumps(without_limit, sort_keys=True))


def _keys(made_with: str, instructions: Sequence[str]) -> list[str]:
    return [f"{made_with}:{_digest(instruction)}" for instruction in instructions]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_KEY_CHARACTERS]


def _response(row: dict[str, Any]) -> Response:
    return Response(row["text"], row["token_count"], row["stopped"])


def _ask_server(
    config: JudgedOptions, instructions: Sequence[str], folder: Path, judges: Sequence[AskOptions]
) -> list[Response | Failure] | None:
    """The answers of a server; None after a dry run with questions that have no answer yet."""
    questions = [
        Question(
            # Without the position: an answer stays valid whichever other prompts are asked with it.
            key=_digest(instruction),
            text=instruction,
            max_tokens=config.max_new_tokens,
            expected_characters=ANSWER_CHARACTERS,
        )
        for instruction in dict.fromkeys(instructions)
    ]
    options = answering_options(config)
    ledger, identity = folder / "answers.jsonl", {"command": "answer"}
    needed = forecast(questions, ledger, identity, options, exact_limit=True)
    if needed.questions and config.dry_run:
        say(f"answering: {needed}; the cost of judging is known once the responses exist")
        return None
    if needed.questions:
        require_judges(judges)
    answers = ask_once(questions, ledger, identity, options, answer_row, exact_limit=True)
    rows = dict(zip(dict.fromkeys(instructions), answers, strict=True))
    return [response_of(outcome_of(rows[instruction])) for instruction in instructions]


def answering_options(config: JudgedOptions, model: str | None = None) -> AskOptions:
    """How the model of an evaluation, or another one, is asked for responses."""
    asked = config.model if model is None else model
    return AskOptions(
        model=asked,
        base_url=None if is_local(asked) else config.base_url,
        concurrency=config.batch_size,
        retries=config.retries,
        timeout_seconds=config.timeout_seconds,
        retry_errors=config.retry_errors,
    )


def answer_row(_: Question, outcome: Answer | Failure) -> dict[str, Any]:
    """What the ledger says of a response beside its text."""
    if isinstance(outcome, Failure):
        return {"state": failure_state(outcome), "detail": outcome.reason}
    return {"state": outcome.ending}


def response_of(outcome: Answer | Failure) -> Response | Failure:
    """The response that an answer is."""
    if isinstance(outcome, Failure):
        return outcome
    return Response(outcome.text, outcome.output_tokens or 0, stopped=outcome.ending == "finished")
