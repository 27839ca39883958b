"""The prompt of an in-context run: a preamble, demonstrations and the query, as plain text (URIAL, URIAL-R).

    pairs       preamble, demonstrations of query and answer, query     URIAL (Lin et al. 2023, arXiv 2312.01552)
    response    preamble, demonstrations of answers alone, query        URIAL-R (An, Kim & Kim 2025, section 6)
    zero-shot   the query alone                                         0-shot (An, Kim & Kim 2025, section 6)

Queries and answers stand in fences under headings. The prompt ends with an opened fence and no line break, as
published; the model writes the line break.
"""

from collections.abc import Sequence

from response_tuning.conversation import ChatFormat
from response_tuning.example import Example

__all__ = ["format_of"]

_QUERY, _ANSWER, _FENCE = "# Query:\n```\n", "# Answer:\n```", "\n```"


def format_of(preamble: str, demonstrations: Sequence[Example]) -> ChatFormat:
    """The chat format of a run with these demonstrations: with their prompts where they have any."""
    has_queries = any(example.prompt is not None for example in demonstrations)
    style = "zero-shot" if not demonstrations else "pairs" if has_queries else "response"
    return ChatFormat(
        name=f"in-context-{style}",
        preamble=preamble + "".join(map(_demonstration, demonstrations)),
        before_instruction=_QUERY,
        after_instruction=f"{_FENCE}\n\n",
        assistant_header=_ANSWER,
        lead="\n",
        closing=_FENCE,
        after_stop="\n\n",
    )


def _demonstration(example: Example) -> str:
    """A demonstration as the prompt shows it. Its text is kept, but for line breaks at its ends."""
    query = "" if example.prompt is None else f"{_QUERY}{example.prompt.strip(chr(10))}{_FENCE}\n\n"
    completion = example.completion.strip("\n")
    return f"{query}{_ANSWER}\n{completion}{_FENCE}\n\n"
