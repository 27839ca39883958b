"""What a check is: a question with a yes or no about one response, which a program can answer.

A check is a pydantic model with a ``type`` of its own, its parameters, and ``holds``. Adding one takes a class like::

    class Shouts(BaseModel):
        \"\"\"The response is in capitals.\"\"\"

        model_config = STRICT
        type: Literal["shouts"]

        def holds(self, reading: Reading) -> bool:
            return reading.response.isupper()

and a line in ``check_registry.py``.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from pydantic import ConfigDict

from response_tuning.evaluation.checks.text import content_words, pairs, plain, quoted_source, sentences

__all__ = ["STRICT", "Check", "Reading"]

STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
"""The configuration of every check: a misspelt parameter is an error."""


@dataclass(frozen=True)
class Reading:
    """A response with its prompt, as checks read them."""

    prompt: str
    response: str
    run_code: bool = False
    """Whether code in the response may run, in a subprocess with limits."""
    stopped: bool = True
    """Whether the response ended by itself."""

    @cached_property
    def text(self) -> str:
        """The response with plain quotes and dashes (``text.plain``)."""
        return plain(self.response)

    @cached_property
    def asked(self) -> str:
        """The prompt with plain quotes and dashes."""
        return plain(self.prompt)

    @cached_property
    def source(self) -> str:
        """The text that the prompt quotes; empty where it quotes none."""
        return quoted_source(self.asked)

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences and lines of the response."""
        return sentences(self.text)

    @cached_property
    def added(self) -> list[str]:
        """The stems of the response's content words that the prompt lacks, without repetition."""
        asked = set(content_words(self.asked))
        return [word for word in dict.fromkeys(content_words(self.text)) if word not in asked]

    @cached_property
    def kept_pairs(self) -> int:
        """How many pairs of neighbouring words are neighbours in the prompt as well."""
        return len(pairs(self.text) & pairs(self.asked))


class Check(Protocol):
    """One check of a row."""

    @property
    def type(self) -> str:
        """Its name in the field ``checks``."""
        ...

    def holds(self, reading: Reading) -> bool | None:
        """Whether the response passes; None where only running its code could tell and ``run_code`` is off."""
        ...
