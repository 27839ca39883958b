"""The similarity of responses and instructions, by sentence embedding (all-MiniLM-L6-v2, on the CPU)."""

from collections.abc import Sequence

import numpy as np

from response_tuning.models.sentences import sentence_vectors

__all__ = ["instruction_ranks", "nearest_texts"]


def instruction_ranks(instructions: Sequence[str], responses: Sequence[str]) -> list[int]:
    """The rank (from 1) of each response's own instruction among all different instructions, by cosine similarity.

    An empty response gets the last rank.
    """
    different = list(dict.fromkeys(instructions))
    places = [different.index(instruction) for instruction in instructions]
    similarities = sentence_vectors(responses) @ sentence_vectors(different).T
    own = similarities[np.arange(len(places)), places][:, None]
    ranks = 1 + (similarities > own).sum(axis=1)
    return [int(rank) if response.strip() else len(different) for rank, response in zip(ranks, responses, strict=True)]


def nearest_texts(texts: Sequence[str], count: int) -> list[list[int]]:
    """For each text, the indices of the ``count`` others with the highest cosine similarity, the nearest first.

    Copies of the text come last, because they are no alternative to it.
    """
    vectors = sentence_vectors(texts)
    similarities = vectors @ vectors.T
    words = [text.split() for text in texts]
    nearest = []
    for own, row in enumerate(similarities):
        others = [other for other in range(len(texts)) if other != own]
        others.sort(key=lambda other: (words[other] == words[own], -float(row[other])))
        nearest.append(others[:count])
    return nearest
