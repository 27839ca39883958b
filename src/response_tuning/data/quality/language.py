"""Language identification from byte n-grams (py3langid: Lui & Baldwin 2012)."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = ["language_of"]

_FEWEST_CHARACTERS = 40
_CHARACTERS_READ = 400
_LEAST_PROBABILITY = 0.5


def language_of(text: str) -> str | None:
    """The ISO 639 code of a text's language; None if it is short, code, or otherwise unclear."""
    if len(text) < _FEWEST_CHARACTERS:
        return None
    language, probability = _identifier().classify(text[:_CHARACTERS_READ])
    return str(language) if probability >= _LEAST_PROBABILITY and language != "zxx" else None


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
