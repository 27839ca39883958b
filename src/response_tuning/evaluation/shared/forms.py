"""Does a response have the form of its reference? Code where the reference is code, a letter where it is a letter.

Sentence embeddings see topics and hardly see forms: a text about a black hole is near to the night guard who explains
one. So forms are compared by patterns, each of them a reason why a response is of another kind than its reference.
"""

import re
from collections.abc import Callable, Mapping

from response_tuning.evaluation.checks.text import words

__all__ = ["FORMS", "other_forms"]

_CODE = re.compile(
    r"```|<code>|^\s*(?:def |class |import |from \w+ import|return |SELECT |UPDATE |DELETE |INSERT |function )"
    r"|^\s*(?:for|while|if) .+:$|\bSELECT\b.+\bFROM\b|\bprint\(|^\s*\w+ = \S|#include"
    r"|\\[dws]|\][{+*]|\[[a-zA-Z]-[a-zA-Z]\]",
    re.MULTILINE,
)
_GREETING = re.compile(
    r"^\s*(?:subject:[^\n]*\n+\s*)?(?:dear|hi|hello|good (?:morning|afternoon|evening))\b[^\n.!?]{0,50}\n",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"\n\s*(?:(?:kind |best )?regards|best wishes|yours \w+|sincerely|many thanks|thanks|thank you|love|cheers"
    r"|with (?:love|best|thanks)[^\n,]*|warm \w+)\b[,.!]?[ \t]*(?:\n|$)",
    re.IGNORECASE,
)
_LETTER_WORDS = re.compile(r"\b(?:e-?mail|letter|note|message|invitation|reply|card|postcard)\b", re.IGNORECASE)
_FIRST_PERSON = frozenset("i i'm i've i'll i'd my me mine myself we we're we've we'll our us ours".split())  # noqa: SIM905
_PERSONAL = 0.05
"""The fraction of words in the first person from which a reference is somebody's own voice."""
_ONLY_PERSONAL = 0.08
_ARITHMETIC = re.compile(r"\d\s*[x×*/+=-]\s*\d|=\s*\d")  # noqa: RUF001
_SPEAKER = re.compile(r"^\s*[A-Z]\w*(?: \w+)?:", re.MULTILINE)
_QUOTES = re.compile(r'["“”]')
_NUMBER = re.compile(
    r"\d|\b(?:none|no|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|hundred|half)\b",
    re.IGNORECASE,
)
_ASKS_NUMBER = re.compile(
    r"\bhow (?:many|much|old|long|far|tall)\b|\bwhat percentage\b|\bdo (?:I|we) (?:pay|owe|get in|arrive)\b"
    r"|\bwhat (?:is|was|'s) the (?:total|sum|price|cost|difference between \d)",
    re.IGNORECASE,
)
_CHOICE = re.compile(r"((?:\b[\w-]+, )*\b[\w-]+,? or [\w-]+)")


def other_forms(prompt: str, response: str, reference: str) -> list[str]:
    """The names of the forms in which a response differs from its reference; empty where it has the same form."""
    return [name for name, differs in FORMS.items() if differs(prompt, response, reference)]


def _lacks_code(_: str, response: str, reference: str) -> bool:
    return bool(_CODE.search(reference)) and not _CODE.search(response)


def _is_letter(text: str) -> bool:
    return bool(_GREETING.search(text) or _CLOSING.search(text))


def _is_other_in_letter(prompt: str, response: str, reference: str) -> bool:
    """Whether only one of the two is a letter; a message or a note that was asked for may be one or not."""
    if _is_letter(response) and not _is_letter(reference):
        return not _LETTER_WORDS.search(prompt)
    return _is_letter(reference) and not _is_letter(response)


def _is_to_its_writer(_: str, response: str, reference: str) -> bool:
    """Whether a letter greets the person who should have signed it: the answer to the letter that was asked for."""
    greeting, signed = _GREETING.search(response), _CLOSING.search(reference)
    if greeting is None or signed is None:
        return False
    writers = set(words(reference[signed.end() :])) - set(words(reference[: signed.start()].split("\n")[0]))
    return bool(writers & set(words(greeting[0])))


def _is_other_in_voice(_: str, response: str, reference: str) -> bool:
    """Whether one of the two speaks in the first person and the other never does."""
    if _is_letter(reference):
        return False
    own, given = _personal(response), _personal(reference)
    return (given >= _PERSONAL and own == 0) or (own >= _ONLY_PERSONAL and given == 0)


def _personal(text: str) -> float:
    found = words(text.replace("’", "'"))  # noqa: RUF001
    return sum(word in _FIRST_PERSON for word in found) / max(1, len(found))


def _calculates_for_nothing(_: str, response: str, reference: str) -> bool:
    return bool(_ARITHMETIC.search(response)) and not re.search(r"\d", reference)


def _lacks_speakers(_: str, response: str, reference: str) -> bool:
    return len(_SPEAKER.findall(reference)) > 1 and len(_SPEAKER.findall(response)) < 2 > len(_QUOTES.findall(response))


def _lacks_number(prompt: str, response: str, reference: str) -> bool:
    asked = _ASKS_NUMBER.search(prompt) and _NUMBER.search(reference)
    return bool(asked) and not _NUMBER.search(response)


def _lacks_label(prompt: str, response: str, reference: str) -> bool:
    """Whether the prompt offers labels, the reference begins with one, and the response names none of them."""
    offered = {label for choice in _CHOICE.findall(prompt) for label in re.split(r",? or |, ", choice.lower()) if label}
    first = words(reference)[:1]
    return bool(first) and first[0] in offered and not offered & set(words(response))


FORMS: Mapping[str, Callable[[str, str, str], bool]] = {
    "no code": _lacks_code,
    "letter": _is_other_in_letter,
    "letter to its writer": _is_to_its_writer,
    "voice": _is_other_in_voice,
    "calculation": _calculates_for_nothing,
    "no dialogue": _lacks_speakers,
    "no number": _lacks_number,
    "no label": _lacks_label,
}
"""What tells, from prompt, response and reference, that the response is of another form."""
