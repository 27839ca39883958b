"""Where a response in plain text ends: the rule for models that answer after demonstrations.

A model that nobody trained ends no response with a stop token. It writes on as its prompt does: it closes the fence
that the prompt opened for the response, and begins the next query. ``StopRule`` finds that place.
"""

import re
from dataclasses import dataclass
from itertools import zip_longest

__all__ = ["StopRule"]

_CLOSING = "```"
_FENCE = re.compile(r"(?P<indent>[ \t]*)(?P<marks>`{3,}|~{3,})(?P<info>[^`\n]*)$")


@dataclass(frozen=True)
class StopRule:
    """Ends a response at its closing fence or at the heading that begins a next query, whichever comes first.

    The prompt has opened a fence, and the response is read line by line:

    1. A line of three backticks and no more is the closing fence if a blank line, a heading or the end of the text
       follows. If anything else follows, it opens a code block of the response's own.
    2. A fence with a language, an indented one, a longer one or one of tildes always opens a code block of the
       response's own. The next fence of its kind closes that block. No fence within it ends the response.
    3. A line that begins with a heading ends the response. Within a code block of its own, where such a line may be a
       comment, only the bare heading with a fence on the next line does.

    What ends the response is removed, and so is white space around the response. Its own code blocks stay whole.

    An, Kim & Kim 2025 (arXiv 2410.02465 v3, section 6) stop at the headings and strip all backticks at the end, which
    breaks a response that ends in a code block; their appendix B stops at any fence, which cuts it before the block.
    """

    headings: tuple[str, ...] = ("# Query:", "# Answer:", "# Instruction")
    """What begins a next query, answer or instruction at the beginning of a line."""

    def end(self, text: str, *, complete: bool = False) -> int | None:
        """The number of characters of ``text`` before what ends the response; None if nothing does so far.

        Args:
            text: a response as generated, from the first character after the prompt.
            complete: whether nothing follows: the model ended it, or the limit did.
        """
        return self._scan(text, complete=complete)[0]

    def settled(self, text: str) -> int:
        """The number of characters of ``text`` that are the response's whatever follows: what a stream may print."""
        end, undecided = self._scan(text, complete=False)
        return undecided if end is None else end

    def cut(self, text: str) -> tuple[str, bool]:
        """The response without what ends it, and whether anything ended it, of a ``complete`` text."""
        end = self.end(text, complete=True)
        return (text if end is None else text[:end]).strip(), end is not None

    def _scan(self, text: str, *, complete: bool) -> tuple[int | None, int]:
        """Where the response ends, and up to where it is certain that it does not."""
        lines = text.split("\n")
        unfinished = None if complete else lines.pop()
        block = ""  # the marks of the response's own code block that is open
        start = 0
        for line, following in zip_longest(lines, lines[1:], fillvalue="" if complete else None):
            assert line is not None
            ends = self._ends(line, following, in_block=bool(block))
            if ends is not False:
                return (start if ends else None), start
            block = _block_after(line, block)
            start += len(line) + 1
        if unfinished is None:
            return None, len(text)
        if not block and unfinished.startswith(self.headings):
            return start, start
        return None, start if self._may_end(unfinished) else len(text)

    def _ends(self, line: str, following: str | None, *, in_block: bool) -> bool | None:
        """Whether the response ends at this line; None where that depends on the next line, which is not there yet."""
        if in_block and line.rstrip() in self.headings:
            return None if following is None else following.startswith(_CLOSING)
        if in_block:
            return False
        if line.startswith(self.headings):
            return True
        if line.rstrip() != _CLOSING:
            return False
        return None if following is None else not following.strip() or following.startswith(self.headings)

    def _may_end(self, unfinished: str) -> bool:
        """Whether a line of which this is the beginning may end the response."""
        beginning = unfinished.rstrip()
        return any(known.startswith(beginning) for known in (_CLOSING, *self.headings))


def _block_after(line: str, block: str) -> str:
    """The marks of the code block that is open after a line: empty outside one."""
    fence = _FENCE.match(line)
    if fence is None:
        return block
    marks = fence["marks"]
    if not block:
        return marks
    closes = marks[0] == block[0] and len(marks) >= len(block) and not fence["info"].strip()
    return "" if closes else block
