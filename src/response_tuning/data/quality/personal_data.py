"""Personal data in texts: by patterns with checksums, or by Microsoft's Presidio where its extra is installed.

The patterns find what has a fixed form: e-mail addresses, telephone numbers, payment cards, bank accounts, public IP
addresses and US social security numbers, and the marks that redaction leaves. They are blind to names, places and
dates of birth, which Presidio also looks for.
"""

import re
from collections.abc import Callable
from functools import cache
from ipaddress import ip_address
from typing import Any, Final, Literal

from response_tuning.support.extras import require_extra

__all__ = ["PersonalData", "finder_of", "personal_data_by_patterns"]

PersonalData = Literal["patterns", "presidio", "keep"]
"""How personal data is found; keep: it is not looked for."""

_LANGUAGE: Final = "en"
_LEAST_SCORE: Final = 0.5
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b")
_PHONE = re.compile(r"(?<![\w.+])(?:\+\d{1,3}(?:[ .()/-]{0,2}\d){7,12}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})(?![\w-])")
_SOCIAL_SECURITY = re.compile(r"(?<![\w-])(?!000|666|9\d\d)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
_CARD = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")
_ACCOUNT = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_REDACTED = re.compile(r"<?(?:PRESIDIO_ANONYMIZED_[A-Z_]+|\[?REDACTED[A-Z_]*\]?)>?")
_EXAMPLES = re.compile(r"@(?:[\w-]+\.)*(?:example\.(?:com|org|net)|example|test|invalid|localhost)$", re.IGNORECASE)


def finder_of(how: PersonalData) -> Callable[[str], list[str]]:
    """A function that returns the kinds of personal data in a text, such as ``["e-mail address"]``.

    Raises:
        UserError: Presidio is asked for and not installed.
    """
    if how == "presidio":
        require_extra("presidio_analyzer", "personal-data", purpose="Finding personal data by Presidio")
        return _by_presidio
    return personal_data_by_patterns if how == "patterns" else lambda _: []


def personal_data_by_patterns(text: str) -> list[str]:
    """The kinds of personal data that ``text`` contains, sorted; addresses reserved for examples do not count."""
    found = {
        "e-mail address": any(not _EXAMPLES.search(match[0]) for match in _EMAIL.finditer(text)),
        "telephone number": _PHONE.search(text) is not None,
        "social security number": _SOCIAL_SECURITY.search(text) is not None,
        "payment card": any(_is_card(match[0]) for match in _CARD.finditer(text)),
        "bank account": any(_is_account(match[0]) for match in _ACCOUNT.finditer(text)),
        "IP address": any(_is_public(match[0]) for match in _ADDRESS.finditer(text)),
        "redacted": _REDACTED.search(text) is not None,
    }
    return sorted(kind for kind, is_there in found.items() if is_there)


def _is_card(text: str) -> bool:
    """Whether the digits pass the checksum of Luhn (ISO/IEC 7812)."""
    digits = [int(digit) for digit in text if digit.isdigit()]
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4) for place, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _is_account(text: str) -> bool:
    """Whether a text passes the checksum of an IBAN (ISO 13616)."""
    number = text.replace(" ", "")
    return int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1


def _is_public(text: str) -> bool:
    try:
        return ip_address(text).is_global
    except ValueError:
        return False


@cache
def _analyzer() -> Any:
    from presidio_analyzer import AnalyzerEngine

    return AnalyzerEngine()


def _by_presidio(text: str) -> list[str]:
    found = _analyzer().analyze(text=text, language=_LANGUAGE, score_threshold=_LEAST_SCORE)
    unspecific = {"DATE_TIME", "NRP", "URL"}
    return sorted({str(result.entity_type) for result in found} - unspecific)
