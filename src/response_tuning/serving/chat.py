"""Chat with runs in the terminal; responses are streamed, of several runs side by side."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from response_tuning.serving.chat_config import ChatConfig
from response_tuning.support.progress import say

if TYPE_CHECKING:
    from response_tuning.serving.dialogue import Dialogue
    from response_tuning.serving.engine import Engine
    from response_tuning.serving.job import Event, Job

__all__ = ["chat"]

_SINGLE_TURNS = (
    "--turns: the runs see the whole dialogue. In training, each response followed one instruction, or none, unless "
    "the data had more turns."
)


def chat(config: ChatConfig) -> None:
    """Answer each line of standard input until it ends. Ctrl-C stops an answer, or exits between two.

    Raises:
        UserError: there is no such model.
    """
    from response_tuning.serving.chat_input import editing
    from response_tuning.serving.dialogue import Dialogue
    from response_tuning.serving.engine import Engine
    from response_tuning.serving.load_served import load_served, named_runs

    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text
    served = load_served(named_runs(config.runs), format_name=config.format, dtype=config.dtype, device=config.device)
    interactive = sys.stdin.isatty()
    if interactive:
        say("Ask something. /help lists what else can be typed; Ctrl-D ends.")
    if config.turns:
        say(_SINGLE_TURNS)
    dialogue = Dialogue(served, config.max_new_tokens, keeps_turns=config.turns, system=config.system)
    engine = Engine(batch_size=1, batches=len(served))
    try:
        with editing() if interactive else nullcontext():
            _converse(dialogue, engine, interactive=interactive)
    finally:
        engine.stop()


def _converse(dialogue: "Dialogue", engine: "Engine", *, interactive: bool) -> None:
    from response_tuning.serving.chat_input import read_question, run_command

    while (line := read_question(interactive=interactive)) is not None:
        if interactive and line.startswith("/"):
            with suppress(EOFError):
                printed = run_command(line, dialogue)
                if printed is None:
                    _answer(dialogue, engine, line.strip(), interactive=interactive)
                else:
                    print(printed)
                continue
            return
        if line.strip():
            _answer(dialogue, engine, line.strip(), interactive=interactive)


def _answer(dialogue: "Dialogue", engine: "Engine", question: str, *, interactive: bool) -> None:
    """Print the answers to one question as they are generated."""
    from response_tuning.serving.chat_display import Answer, show

    answers = [Answer(run.name) for run in dialogue.runs]
    events: SimpleQueue[tuple[str, Event]] = SimpleQueue()
    jobs = dialogue.jobs(question, lambda name, event: events.put((name, event)))
    with _stopped_by_ctrl_c(jobs):
        for job in jobs:
            engine.submit(job)
        show(answers, events, interactive=interactive)
    dialogue.remember(question, {answer.name: answer.text for answer in answers})


@contextmanager
def _stopped_by_ctrl_c(jobs: "Sequence[Job]") -> Iterator[None]:
    """Let Ctrl-C end the jobs instead of raising an exception, which could come in the middle of drawing."""

    def stop(*_: object) -> None:
        for job in jobs:
            job.cancel()
            job.fail("stopped")

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
