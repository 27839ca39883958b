"""What several runs are asked in a chat: the system prompt, and each run's own dialogue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from response_tuning.serving.job import Event, Failed, Job
from response_tuning.serving.served_run import ServedRun

__all__ = ["Dialogue"]


@dataclass
class Dialogue:
    """The state of a chat."""

    runs: Sequence[ServedRun]
    max_new_tokens: int
    keeps_turns: bool = False
    """Whether the runs see earlier questions and their own answers."""
    system: str = ""
    _earlier: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def start_over(self) -> None:
        """Forget the earlier turns."""
        self._earlier = {}

    @property
    def is_begun(self) -> bool:
        """Whether there are earlier turns that the next question would continue."""
        return self.keeps_turns and any(self._earlier.values())

    def jobs(self, question: str, tell: Callable[[str, Event], None]) -> list[Job]:
        """One job for each run that the question fits; of the others ``tell`` hears why not.

        Args:
            question: what the user asks.
            tell: called with a run's name and each event.
        """
        jobs = []
        for run in self.runs:
            ids = run.ids_of_messages(self._messages(run.name, question))
            room = self.max_new_tokens if run.context is None else run.context - len(ids)
            if room < 1:
                tell(run.name, Failed(_too_long(len(ids), run.context or 0, is_begun=self.is_begun)))
                continue
            limit = min(room, self.max_new_tokens)
            jobs.append(Job(run, ids, limit, partial(tell, run.name), rule=run.responder.stops))
        return jobs

    def remember(self, question: str, answers: dict[str, str]) -> None:
        """Make a question and the answers, by run, the latest turns."""
        if not self.keeps_turns:
            return
        for name, answer in answers.items():
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            self._earlier[name] = [*self._earlier.get(name, []), *turns]

    def _messages(self, name: str, question: str) -> list[dict[str, Any]]:
        system = [{"role": "system", "content": self.system}] if self.system else []
        earlier = self._earlier.get(name, []) if self.keeps_turns else []
        return [*system, *earlier, {"role": "user", "content": question}]


def _too_long(tokens: int, context: int, *, is_begun: bool) -> str:
    advice = "/new begins another dialogue" if is_begun else "shorten it"
    return f"the prompt takes {tokens:,} tokens, and the model's context has {context:,}: {advice}"
