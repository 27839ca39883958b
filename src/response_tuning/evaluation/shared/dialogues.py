"""Responses at the end of conversations: with earlier turns, a system message, or both.

Models in this process and behind servers are asked alike, through the ledger of questions: a response is keyed by the
whole conversation and by the model, and a local model's by its format and dtype as well.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from response_tuning.asking.ask import Question, open_model
from response_tuning.asking.ask_once import ask_once, forecast, outcome_of, question_key
from response_tuning.asking.ask_options import AskOptions
from response_tuning.evaluation.shared.answering import (
    ANSWER_CHARACTERS,
    Answered,
    answer_row,
    answering_options,
    require_judges,
    response_of,
)
from response_tuning.evaluation.shared.evaluation_options import JudgedOptions
from response_tuning.example import Turn
from response_tuning.models.fingerprint import model_fingerprint
from response_tuning.models.spec import is_local
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from inspect_ai.model import Model

__all__ = ["Dialogue", "respond_to_dialogues"]

_IDENTITY = {"command": "answer in conversations"}


@dataclass(frozen=True)
class Dialogue:
    """What a model is shown."""

    prompt: str
    """The user's last message."""
    earlier_turns: tuple[Turn, ...] = ()
    system: str | None = None


def respond_to_dialogues(
    config: JudgedOptions,
    dialogues: Sequence[Dialogue],
    *,
    folder: Path,
    judges: Sequence[AskOptions] = (),
    model: str | None = None,
) -> Answered | None:
    """Greedy responses, each saved in ``folder`` as it arrives; None after a dry run with open questions.

    Args:
        config: the model, and how it answers. A local model answers in a dry run as well.
        dialogues: what it is shown, equal ones once.
        folder: where responses are saved.
        judges: who will judge them, so that a judge that cannot be asked is an error before hours of answering.
        model: who answers instead of ``config.model``.

    Raises:
        UserError: the model cannot be loaded or asked, or a judge cannot be asked.
    """
    spec = config.model if model is None else model
    options = answering_options(config, spec)
    asked = [_question(dialogue, config, is_here=is_local(spec)) for dialogue in dialogues]
    ledger = folder / "conversations.jsonl"
    needed = forecast(asked, ledger, _IDENTITY, options, exact_limit=True)
    if needed.questions and config.dry_run and not is_local(spec):
        say(f"answering: {needed}; the cost of judging is known once the responses exist")
        return None
    if needed.questions and not config.dry_run:
        require_judges(judges)
    rows = ask_once(
        asked, ledger, _IDENTITY, options, answer_row, exact_limit=True, opens=lambda options: _open(options, config)
    )
    return Answered([response_of(outcome_of(row)) for row in rows], _backend(spec, config))


def _question(dialogue: Dialogue, config: JudgedOptions, *, is_here: bool) -> Question:
    key = question_key(dialogue.prompt, system=dialogue.system or "", earlier_turns=dialogue.earlier_turns)
    return Question(
        key=f"{key} {json.dumps([config.format, config.dtype])}" if is_here else key,
        text=dialogue.prompt,
        system=dialogue.system,
        earlier_turns=dialogue.earlier_turns,
        max_tokens=config.max_new_tokens,
        expected_characters=ANSWER_CHARACTERS,
    )


def _open(options: AskOptions, config: JudgedOptions) -> "Model":
    if not is_local(options.model):
        return open_model(options)
    from response_tuning.asking.local import open_local_model

    return open_local_model(
        options.model,
        batch_size=options.concurrency,
        format_name=config.format,
        dtype=config.dtype,
        device=config.device,
        as_assistant=False,
    )


def _backend(spec: str, config: JudgedOptions) -> dict[str, str | None]:
    if not is_local(spec):
        return {"backend": f"inspect_ai {spec}"}
    return {
        "backend": "transformers",
        "dtype": config.dtype,
        "format": config.format,
        "fingerprint": model_fingerprint(spec),
    }
