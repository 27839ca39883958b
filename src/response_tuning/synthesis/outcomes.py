"""What is made of an answer, for the commands that ask in stages: a text, a verdict, or the state of neither."""

from typing import Any

from response_tuning.asking.ask import Answer, Failure, Question
from response_tuning.asking.ask_once import REFUSED_QUESTION, failure_state
from response_tuning.asking.verdict import find_verdict
from response_tuning.synthesis.revision import refuses

__all__ = ["READ", "WRITTEN", "text_row", "verdict_row", "without_text"]

READ = "read"
"""The state of a verdict or a list that could be read."""
WRITTEN = "written"
"""The state of a text that can be used."""


def text_row(_: Question, answer: Answer | Failure) -> dict[str, Any]:
    """A whole text that is no refusal to help: ``text``, stripped."""
    if not isinstance(answer, Answer) or answer.ending != "finished":
        return without_text(answer)
    if refuses(answer.text):
        return {"state": "refused"}
    return {"state": WRITTEN, "text": answer.text.strip()} if answer.text.strip() else {"state": "empty"}


def verdict_row(question: Question, answer: Answer | Failure) -> dict[str, Any]:
    """What follows the nonce of the question in the last line of the answer: ``verdict``."""
    if not isinstance(answer, Answer) or answer.ending != "finished":
        return without_text(answer)
    code = question.text.rstrip().rpartition("VERDICT ")[2].partition(":")[0]
    verdict = find_verdict(answer.text, code)
    return {"state": "unparsed"} if verdict is None else {"state": READ, "verdict": verdict}


def without_text(answer: Answer | Failure) -> dict[str, Any]:
    """The state of an outcome that holds no usable text."""
    if isinstance(answer, Failure):
        return {"state": failure_state(answer), "detail": answer.reason}
    return {"state": "truncated" if answer.ending == "truncated" else REFUSED_QUESTION}
