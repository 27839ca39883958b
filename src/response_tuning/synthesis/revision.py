"""Extract the revision from an answer of a language model, and decide whether it can replace the original.

A revision must keep the content of the original, but models that are asked to rewrite a text also shorten it, answer
it, refuse, comment on it, or lose its numbers. In case of doubt the original is kept.
"""

import hashlib
import re
from dataclasses import dataclass
from itertools import count
from typing import Literal

from response_tuning.asking.ask import Answer, Failure
from response_tuning.asking.ask_once import ERROR, REFUSED_QUESTION
from response_tuning.synthesis.facts import lost_facts, plain_marks

__all__ = ["MARKER", "UNCHANGED", "Outcome", "Reason", "find_revision", "judge_answer", "marker_for", "refuses"]

MARKER = "### Revision"
"""The line after which the model writes its revision, without the nonce of the text (``marker_for``)."""

UNCHANGED = "UNCHANGED"
"""What a model may write in place of a revision that would be the original."""

Reason = Literal[
    "no marker",
    "truncated",
    "much shorter",
    "lost numbers or names",
    "refused",
    "unchanged",
    "refused by the server",
    "error after retries",
]
"""Why an original is kept."""


@dataclass(frozen=True)
class Outcome:
    """The outcome for one response: refined if ``reason`` is None, otherwise kept."""

    completion: str
    reason: Reason | None = None
    detail: str = ""
    """For people: the error, or what was lost."""


def marker_for(*texts: str) -> str:
    """The marker of a request about these texts: it ends in a nonce that occurs in none of them."""
    joined = "\0".join(texts)
    for attempt in count():
        nonce = hashlib.sha256(f"{attempt}{joined}".encode()).hexdigest()[:_NONCE_CHARACTERS].upper()
        if nonce not in joined.upper():
            return f"{MARKER} {nonce}"
    raise AssertionError("a text has fewer nonces than there are")


def judge_answer(
    answer: Answer | Failure, original: str, *, marker: str = MARKER, shortest_share: float, known: str = ""
) -> Outcome:
    """Decide between the revision in ``answer`` and the original.

    Args:
        answer: the outcome of the question.
        original: the response that the model was asked to rewrite.
        marker: the marker that it was asked to write first, with its nonce (``marker_for``).
        shortest_share: keep the original if the revision has less than this fraction of its characters.
        known: a text whose numbers and names the revision need not repeat.
    """
    if isinstance(answer, Failure):
        return Outcome(original, REFUSED_QUESTION if answer.is_refusal else ERROR, answer.reason)
    if answer.ending == "truncated":
        return Outcome(original, "truncated", "the answer reached the token limit")
    if answer.ending == "filtered":
        return Outcome(original, "refused", "the provider withheld the answer")
    revision = find_revision(answer.text, original, marker=marker)
    if refuses(answer.text if revision is None else revision) and not refuses(original):
        return Outcome(original, "refused")
    if revision is None:
        return Outcome(original, "no marker")
    if revision.strip("*_`\"'. ") == UNCHANGED:
        return Outcome(original, "unchanged")
    if len(revision) < shortest_share * len(original.strip()):
        return Outcome(original, "much shorter", f"{len(revision)} of {len(original.strip())} characters")
    lost = lost_facts(original, f"{revision}\n{known}")
    if lost:
        return Outcome(original, "lost numbers or names", ", ".join(lost))
    if revision.split() == original.split():
        return Outcome(original, "unchanged")
    return Outcome(revision)


def find_revision(answer: str, original: str, *, marker: str = MARKER) -> str | None:
    """The text after the last marker in ``answer``, without the wrapping that models add; None if there is no marker.

    Small models leave the marker's nonce out. Any line that looks like a marker counts then, unless ``original`` has
    such a line too. Quotation marks, code fences and closing remarks are kept if ``original`` has them too.
    """
    revision = _after_marker(answer, original, marker)
    if revision is None:
        return None
    if not _HEADING_OF_THE_PROMPT.match(original.strip()):
        revision = _HEADING_OF_THE_PROMPT.sub("", revision)
    for opening, closing in _WRAPPERS:
        inner = _unwrapped(revision, opening, closing)
        if inner is not None and _unwrapped(original.strip(), opening, closing) is None:
            revision = inner.strip()
    *body, last = re.split(r"\n\s*\n", revision)
    if body and _REMARK.match(last) and not _REMARK_ANYWHERE.search(original):
        revision = revision[: len(revision) - len(last)].strip()
    return revision or None


def _after_marker(answer: str, original: str, marker: str) -> str | None:
    """What follows the last marker in ``answer``."""
    nonce = marker.removeprefix(MARKER).strip()
    exact = list(re.finditer(_EXACT.replace("NONCE", re.escape(nonce)), plain_marks(answer), _LINES)) if nonce else []
    if exact:
        return answer[exact[-1].end() :].strip()
    answer = _THOUGHTS.sub("", answer)
    similar = [] if _MARKER.search(plain_marks(original)) else list(_MARKER.finditer(plain_marks(answer)))
    return answer[similar[-1].end() :].strip() if similar else None


def refuses(text: str) -> bool:
    """Whether a text begins with a refusal to do what was asked."""
    match = _REFUSAL.match(plain_marks(text))
    return match is not None and _UNABLE.search(match.group()) is not None


_NONCE_CHARACTERS = 4
_EXACT = r"""^(?:.*</think>)?[^\w\n]*(?:the[ \t]+)?(?:revis\w*[ \t]*[^\w\n]{0,3}[ \t]*)?NONCE\b[*_:\]>#"'`.]*[ \t]*"""
_LINES = re.IGNORECASE | re.MULTILINE
# A line that announces the revision, in any markup; text may follow a colon on the same line.
_MARKER = re.compile(
    r"""^[ \t]*(?:>[ \t]*)?(?:
        (?:\#{1,6}|\*{1,3}|_{1,2}|\[|<|={2,}|-{2,}|["'`])[ \t]*[*_\#]*[ \t]*          # marked up as a heading
        (?:the[ \t]+)?(?:revision|revised(?:[ \t]+\w+)?)
        [ \t]*(?:[]>*_=\#"'`-]*:[]>*_=\#"'`-]*[ \t]*|[]>*_=\#"'`-]*[ \t]*\r?$)
      | (?:the[ \t]+)?(?:revision|revised[ \t]+(?:text|version|response|answer))      # or plain words
        [ \t]*(?::[ \t]*|\r?$)
    )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# Small models copy this heading with the text.
_HEADING_OF_THE_PROMPT = re.compile(r"\A### Text\s*\n\s*")
_THOUGHTS = re.compile(r"\A\s*<think>.*?(</think>|\Z)", re.DOTALL)
_WRAPPERS = (("```", "```"), ('"""', '"""'), ('"', '"'), ("\u201c", "\u201d"))
_REMARK_ANYWHERE = re.compile(
    r"(let me know|i hope (this|that)|please let me know|feel free to|would you like|is there anything"
    r"|(explanation|changes( made)?|notes?|comment)[ \t]*[:*]|i('ve| have) (re\w+|made|kept|improved|changed)"
    r"|this (revision|version|rewrite) )",
    re.IGNORECASE,
)
_REMARK = re.compile(r"[ \t*_(\[]*" + _REMARK_ANYWHERE.pattern, re.IGNORECASE)
_REFUSAL = re.compile(
    r"\W*(i('m| am) (very |so |really )?sorry|sorry|i apologi[sz]e|unfortunately|as an ai"
    r"|i can('t|not)|i can not|i won't|i('m| am) (unable|not able))\b[^\n]{0,160}",
    re.IGNORECASE,
)
_UNABLE = re.compile(
    r"\b(can('t|not)|can not|unable|not able|won't|will not)\b.{0,40}"
    r"\b(help|assist|rewrite|revise|comply|fulfil|provide|do that|do this|complete|process|continue|create|generate)",
    re.IGNORECASE,
)


def _unwrapped(text: str, opening: str, closing: str) -> str | None:
    """The text between two marks that enclose all of ``text``; None if they do not."""
    inner = text.removeprefix(opening).removesuffix(closing)
    if len(text) != len(opening) + len(inner) + len(closing) or opening in inner or closing in inner:
        return None
    # A fence may name a language on its first line.
    return inner.split("\n", 1)[1] if opening == "```" and "\n" in inner else inner
