"""What the rows of a source held beside prompt and response: counted while they are read, and logged once."""

from collections import Counter

from response_tuning.support.progress import say, warn

__all__ = ["Usage"]

_NAMES_SHOWN = 12


class Usage:
    """Counts of recognised layouts, of fields that are not used, and of turns that are left out.

    A source whose fields are known, such as a published one, has no ``source`` name and logs only what is left out.
    """

    def __init__(self, source: str | None = None, *, keeps_system: bool = False) -> None:
        self.source = source
        self.keeps_system = keeps_system
        """Whether the examples of a conversation keep its system message in the field ``system``."""
        self.place = source or "the data"
        """The place of the row that is being read."""
        self.layouts: Counter[str] = Counter()
        """Rows by the layout that was recognised; rows in this package's own form are not counted."""
        self.unused_fields: Counter[str] = Counter()
        """Rows by the field beside prompt and response that they hold; the field is kept and changes nothing."""
        self.left_out_fields: Counter[str] = Counter()
        """Rows by a field that is not used and cannot be kept, because its name would mean something else."""
        self.unused_message_fields: Counter[str] = Counter()
        """Messages by the field that they hold beside role, content and weight."""
        self.skipped: Counter[str] = Counter()
        """Turns or rows that are left out, by the reason."""
        self._first: dict[str, str] = {}

    def skip(self, what: str, field: str = "") -> None:
        """Count something that is left out; the first place is logged with it."""
        self.skipped[what] += 1
        self._first.setdefault(what, f"{self.place} {field}".rstrip())

    def report(self) -> None:
        """Log one line for each kind of thing; nothing for rows that hold nothing else."""
        name = self.source or "data"
        for layout, rows in self.layouts.items():
            if self.source:
                say(f"{name}: {rows:,} rows read as {layout}")
        for what, count in self.skipped.items():
            warn(f"{name}: left out {count:,} {what} (the first: {self._first[what]})")
        parts = [
            _listed("fields", self.unused_fields, "rows"),
            _listed("fields that are left out", self.left_out_fields, "rows"),
            _listed("fields of messages", self.unused_message_fields, "messages"),
        ]
        if self.source and any(parts):
            say(f"{name}: not used: {'; '.join(filter(None, parts))}")


def _listed(what: str, counts: Counter[str], of: str) -> str:
    """The names with their counts, the most frequent first: ``fields 'id' (20 rows), 'tags' (3 rows)``."""
    if not counts:
        return ""
    named = [f"{name!r} ({count:,} {of})" for name, count in counts.most_common(_NAMES_SHOWN)]
    rest = len(counts) - len(named)
    return f"{what} {', '.join(named)}{f' and {rest:,} more' if rest else ''}"
