"""Rows of ordinary text that look like an instruction and its answer after all.

The claim of non-instructional tuning is that no instruction is needed, so texts that contain some weaken it (Xie et al.
2024, arXiv 2409.00096, found 0.7% of their rows to be of this kind, by a judge). These patterns know English alone, and
only the usual forms; a text that asks in other words passes.
"""

import re

__all__ = ["instruction_like"]

_MARKS = re.compile(
    r"^\s*(?:#+\s*)?(?:q|question|instructions?|prompt|user|human|task|exercise|problem|a|answer|response|assistant)"
    r"\s*\d*\s*[:.)]\s",
    re.IGNORECASE | re.MULTILINE,
)
_VERBS = (
    "answer|calculate|classify|compare|compose|compute|convert|create|define|describe|discuss|draft|evaluate|explain"
    "|find|generate|give me|identify|list|make|name|outline|paraphrase|please|provide|rewrite|solve|suggest"
    "|summari[sz]e|tell me|translate|write"
)
_REQUEST = re.compile(rf"(?:^|(?<=[.!?:]\s)|(?<=\n))(?:please\s+)?(?:{_VERBS})\b[^.!?\n]*[.!?:]?\s*\Z", re.IGNORECASE)
_WHOLE_REQUEST = re.compile(rf"\A\s*(?:please\s+)?(?:{_VERBS})\b", re.IGNORECASE)
_REPLY = re.compile(
    r"\A\W*(?:sure\b[,!.]|certainly\b[,!.]|of course\b[,!.]|absolutely\b[,!.]"
    r"|here(?:'s| is| are)\s+(?:a|an|the|some|your)\b"
    r"|i(?:'m| am) (?:sorry|happy to)|as an? (?:ai|language model)|the answer is\b|i'd be happy to)",
    re.IGNORECASE,
)


def instruction_like(prompt: str, completion: str) -> str | None:
    """Why a prompt and its continuation look like an instruction and its answer; None if they do not."""
    text = prompt.strip()
    if len({match[0].strip().lower() for match in _MARKS.finditer(f"{text}\n{completion}")}) >= 2:
        return "marks of questions and answers"
    if text.endswith("?"):
        return "the prompt ends in a question"
    if _REQUEST.search(text) or (_WHOLE_REQUEST.match(text) and "\n" not in text and len(text.split()) < 40):
        return "the prompt ends in a request"
    if _REPLY.match(completion):
        return "the response speaks to an asker"
    return None
