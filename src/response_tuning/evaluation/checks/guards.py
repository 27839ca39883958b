"""Guards: what no answer is, whatever was asked. They precede the checks of a row and need no field in it.

Each has a name, which a row's ``failed`` gives as the reason.
"""

import re
from collections.abc import Callable
from difflib import SequenceMatcher

from response_tuning.evaluation.checks.check_contract import Reading
from response_tuning.evaluation.checks.text import content_words, is_function_word, words
from response_tuning.evaluation.shared.text_measures import invented_turn, loops, repeat_fraction

__all__ = ["GUARDS", "failed_guards"]

_FEWEST_WORDS = 3
_COPIED = 0.8
_COPY_WORDS = 4
_BAG_WORDS = 3
_BAG_FUNCTION_WORDS = 0.2
_EVASIVE_NEW_WORDS = 6


def failed_guards(reading: Reading) -> list[str]:
    """The names of the guards that the response fails."""
    return [name for name, fails in GUARDS.items() if fails(reading)]


def _is_empty(reading: Reading) -> bool:
    return not words(reading.text)


def _loops(reading: Reading) -> bool:
    """Whether it loops until the limit. One that ended by itself may repeat up to 60% of its four-word runs."""
    repeated = repeat_fraction(re.sub(r"\d+", " ", reading.text))
    ended = reading.stopped and _REPEATED <= repeated <= _LOOPED
    return loops(reading.response) and not ended


_REPEATED, _LOOPED = 0.3, 0.6


def _invents_turns(reading: Reading) -> bool:
    return invented_turn(reading.response) is not None


def _copies(reading: Reading) -> bool:
    """Whether it is the prompt, the text that the prompt quotes, or the rest of the prompt, with few words changed."""
    own = words(reading.text)
    if _changes_one_word(own, words(reading.asked)) and not _answers_in_its_words(own, reading):
        return True
    if len(own) < _COPY_WORDS:
        return False
    if reading.source:
        frame = words(reading.asked.replace(reading.source, " "))
        of_source = _likeness(own, words(reading.source)) >= _COPIED and not _extends(own, reading, frame)
        return of_source or max(_likeness(own, given) for given in (words(reading.asked), frame)) >= _COPIED
    return not _answers_in_its_words(own, reading) and _likeness(own, words(reading.asked)) >= _COPIED


def _changes_one_word(own: list[str], given: list[str]) -> bool:
    """Whether a response is the prompt with at most one word put in, left out or replaced, however short it is."""
    if len(given) < _FEWEST_WORDS or abs(len(own) - len(given)) > 1:
        return False
    same = sum(block.size for block in SequenceMatcher(None, own, given, autojunk=False).get_matching_blocks())
    return max(len(own), len(given)) - same <= 1


def _extends(own: list[str], reading: Reading, frame: list[str]) -> bool:
    """Whether words of the instruction are put into the quoted text: "has 128 GB of storage" where storage is asked."""
    given = words(reading.source)
    put_in = set(own) & set(frame) - set(given)
    longest = SequenceMatcher(None, own, given, autojunk=False).find_longest_match().size
    return any(not is_function_word(word) for word in put_in) and longest < _COPIED * len(given)


def _answers_in_its_words(own: list[str], reading: Reading) -> bool:
    """Whether it is a question made a statement: "The Nile is the longest river" for "Which is the longest river?"."""
    asked = set(words(reading.asked)) & _QUESTION_WORDS
    return bool(asked and reading.added) and not asked & set(own) and not reading.text.strip().endswith("?")


_QUESTION_WORDS = frozenset({"what", "which", "who", "whom", "whose", "when", "where", "why", "how"})


def _likeness(own: list[str], given: list[str]) -> float:
    return SequenceMatcher(None, own, given, autojunk=False).ratio() if len(given) >= _COPY_WORDS else 0.0


def _only_asks(reading: Reading) -> bool:
    """Whether every sentence is a question."""
    return bool(reading.sentences) and all(re.search(r"\?\W*$", sentence) for sentence in reading.sentences)


def _evades(reading: Reading) -> bool:
    """Whether it sends the reader away or declines, and has little else to say."""
    rest = [sentence for sentence in reading.sentences if not _EVASION.search(sentence)]
    asked = set(content_words(reading.asked))
    new = {word for sentence in rest for word in content_words(sentence)} - asked
    return len(rest) < len(reading.sentences) and len(new) < _EVASIVE_NEW_WORDS


_ELSEWHERE = (
    r"(?:somebody|someone|anyone|anybody|somewhere|anywhere|(?:an)?other \w+|others|a friend|an expert|experts?|"
    r"a specialist|a professional|"
    r"a librarian|google|the internet|a search engine|elsewhere|online)"
)
_EVASION = re.compile(
    rf"\b(?:ask|consult|contact|try|see|speak (?:to|with)|talk to|turn to|refer to|check with|look|go to|search|"
    rf"find|leave (?:it|this|that)(?: \w+)? to|by) {_ELSEWHERE}\b|"
    r"\bnothing (?:\w+ )?(?:will|can|is going to|to) (?:be )?(?:said|told|offered|given|added|say|add|offer)\b|"
    r"\b(?:i|we)(?:'m| am| are)? (?:\w+ )?(?:do not|don't|cannot|can't|could not|couldn't|will not|won't|"
    r"would not|unable to|not able to) (?:\w+ )?"
    r"(?:know|say|tell|help|answer|assist|comment|discuss|go into|provide|offer|speak|talk|respond|give|write|"
    r"do (?:that|this|it))\b|"
    r"\b(?:i'm|i am|we are|we're) (?:\w+ )?(?:not sure|unsure|unable|uncertain|afraid)\b|\b(?:no idea|no comment|"
    r"hard to say|rather not|not (?:go|say|get) into)\b|"
    r"\b(?:prefer not to|declin\w+ to|refuse to)\b|\b(?:cannot|can't|won't|will not|not) be (?:answered|said|"
    r"discussed|covered|helped)\b|"
    r"\b(?:beyond|outside) (?:my|what i|our|the scope)\b|\bbetter place to (?:ask|look)\b|\bbest (?:answered|"
    r"asked|left)\b|"
    r"\b(?:interesting|good|great|important) (?:question|topic|subject|point|request)\b|"
    r"\bthanks? (?:you )?for (?:your|the) question\b|"
    r"\bplease (?:ask|consult|contact|see|try) (?!for\b)|\bthank(?:s| you) for your (?:message|question|email|"
    r"interest|enquiry|request|patience)\b|"
    r"\b(?:will|shall|'ll) (?:get back to you|be in touch|reply soon|respond soon|come back to you)\b|\b(?:not|"
    r"isn't|aren't|nothing) (?:\w+ )?(?:something|anything|that|what) (?:i|we) (?:can|could|may|will|want)\b|"
    r"\bmuch (?:to say|more to say|could be said|has been written)\b|\b(?:library|librarian|encyclopa?edia|"
    r"search engine)\b|\bwould rather not\b|\bhappy to (?:help|hear)\b|\bmore information\b|"
    r"\b(?:hear|know|learn) your (?:answer|opinion|thoughts?|views?)\b|\bwhat do you think\b|\b(?:the|"
    r"a) question (?:is|about)\b|"
    r"\byou(?:'d| would| want to| wanted to)? (?:like|want|wish)(?:ed)? to know\b|\byou (?:asked|are asking)\b|"
    r"\b(?:better|best|right|wrong) (?:person|place|one|people) to\b|\bperson to (?:ask|talk to|speak to)\b|"
    r"\blet me think\b",
    re.I,
)


def _is_a_bag(reading: Reading) -> bool:
    """Whether it strings together words of the prompt, in another order, with little grammar or with made-up grammar.

    A short answer in the prompt's words (a label, a value) has few of them, an extract keeps some of its neighbours.
    """
    own = words(reading.text)
    named = set(content_words(reading.text))
    if len(own) < _BAG_WORDS or reading.added or re.search(r"\w[\"']?:\s", reading.text):
        return False
    parts = [part for part in _PARTS.split(reading.text.strip()) if part.strip()]
    if len(parts) >= len(own) * _LISTED:
        if _were_listed(parts, reading.asked):
            return False
        covers = len(named) >= _BAG_COVERS * len(set(content_words(reading.asked)))
        single = len(parts) >= _BAG_ITEMS and all(len(words(part)) == 1 for part in parts)
        phrases = any(len(content_words(part)) > 1 for part in parts)
        return covers or ((single or phrases) and not reading.kept_pairs)
    grammar = sum(is_function_word(word) for word in own) / len(own)
    return len(named) >= _BAG_WORDS and (not reading.kept_pairs or grammar < _BAG_FUNCTION_WORDS)


def _were_listed(parts: list[str], prompt: str) -> bool:
    """Whether a comma follows most of the parts in the prompt: a list to be sorted or filtered."""
    listed = sum(re.search(rf"\b{re.escape(part.strip())}\s*,", prompt, re.I) is not None for part in parts)
    return 2 * listed >= len(parts)


_BAG_COVERS = 0.6
_BAG_ITEMS = 4
_LISTED = 0.4
_PARTS = re.compile(r"[,;.!\n]\s*|\s(?:and|or)\s")


GUARDS: dict[str, Callable[[Reading], bool]] = {
    "empty": _is_empty,
    "loops": _loops,
    "invents turns": _invents_turns,
    "copies": _copies,
    "only asks": _only_asks,
    "evades": _evades,
    "bag of prompt words": _is_a_bag,
}
