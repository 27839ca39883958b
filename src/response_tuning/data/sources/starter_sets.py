"""The data sets that come with this package (``data/starter/README.md`` describes them)."""

from collections.abc import Iterator
from importlib.resources import as_file, files

from response_tuning.data.sources.fields import rows_from
from response_tuning.data.sources.readers import read_file
from response_tuning.data.sources.source import SourceOptions
from response_tuning.example import Row
from response_tuning.support.options import STARTER
from response_tuning.support.records import BadRow

__all__ = [
    "STARTER_DEMONSTRATIONS",
    "STARTER_HELD_OUT",
    "STARTER_LOOK_ALIKES",
    "STARTER_REFUSALS",
    "STARTER_TEST",
    "StarterSets",
]

STARTER_DEMONSTRATIONS = "starter-demonstrations"
"""The data spec of three pairs to show in a prompt, as URIAL has them: a list, a refusal and steps."""
STARTER_HELD_OUT = "starter-held-out"
"""The data spec of the starter set's held-out pairs, with checks: the development split."""
STARTER_TEST = "starter-test"
"""The data spec of the starter set's test split, with checks: it chooses nothing."""
STARTER_REFUSALS = "starter-refusals"
"""The data spec of the starter set's refusals of unsafe requests."""
STARTER_LOOK_ALIKES = "starter-look-alikes"
"""The data spec of harmless requests that resemble those, with answers; row k belongs to refusal k."""

_FILES = {
    STARTER: "train.jsonl",
    STARTER_HELD_OUT: "held_out.jsonl",
    STARTER_DEMONSTRATIONS: "demonstrations.jsonl",
    STARTER_TEST: "test.jsonl",
    STARTER_REFUSALS: "refusals.jsonl",
    STARTER_LOOK_ALIKES: "look_alikes.jsonl",
}


class StarterSets:
    """The packaged data sets by name."""

    help = f"a data set of this package ({', '.join(_FILES)})"

    def accepts(self, spec: str) -> bool:
        """Whether it is one of their names."""
        return spec in _FILES

    def read(self, spec: str, options: SourceOptions) -> Iterator[Row | BadRow]:
        """The rows of the packaged file."""
        with as_file(files("response_tuning.data.starter") / _FILES[spec]) as path:
            yield from rows_from(read_file(path), options.fields)
