"""A trained judge: a run that ``rt train --objective self-judge`` made, which grades answers without a reference."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from response_tuning.inference.choices import rate_by_digit
from response_tuning.inference.judge_request import GRADES, judge_request
from response_tuning.inference.responder import Responder
from response_tuning.runs.folder import run_of
from response_tuning.runs.load import load_responder
from response_tuning.support.configuration import written_options
from response_tuning.support.errors import UserError
from response_tuning.support.options import Device, Dtype

__all__ = ["TrainedJudge", "load_judge", "require_judge"]


@dataclass(frozen=True)
class TrainedJudge:
    """A judge in this process."""

    spec: str
    responder: Responder

    def scores(
        self, pairs: Sequence[tuple[str, str]], *, batch_tokens: int = 2048, label: str | None = None
    ) -> list[float]:
        """The expected grade, from 0 to 9, of each pair of an instruction and an answer (Ye & Ng 2024).

        Args:
            pairs: each is graded by itself.
            batch_tokens: the most padded tokens in a batch; a longer request is a batch of its own.
            label: of a progress bar; None shows none.
        """
        requests = [judge_request(instruction, answer) for instruction, answer in pairs]
        ratings = rate_by_digit(self.responder, requests, GRADES, batch_tokens=batch_tokens, shares=False, label=label)
        return [rating.expected for rating in ratings]


def require_judge(spec: str) -> None:
    """Validate that ``spec`` names a trained judge, without loading it.

    Raises:
        UserError: it is no finished run, or was trained on something else.
    """
    run = run_of(Path(spec))
    if not run.is_trained:
        raise UserError(f"--judge-run names {spec}, which is no finished run.")
    objective = written_options(run.config).get("objective", "auto")
    if objective != "self-judge":
        raise UserError(
            f"--judge-run names {spec}, which was trained with --objective {objective}. A judge is trained with "
            "rt train --objective self-judge on the rows of rt data judge-set."
        )


def load_judge(spec: str | Path, *, dtype: Dtype = "auto", device: Device = "auto") -> TrainedJudge:
    """Load a trained judge.

        judge = load_judge("runs/judge")
        judge.scores([("Name a river.", "The Nile.")])

    Raises:
        UserError: ``spec`` names no judge, or it cannot be loaded.
    """
    require_judge(str(spec))
    return TrainedJudge(str(spec), load_responder(str(spec), "auto", dtype=dtype, device=device))
