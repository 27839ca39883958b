"""Near-duplicates by MinHash (Broder 1997, from datasketch), in linear time for any data."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from response_tuning.data.quality.words import normalised, run_hashes, words

__all__ = ["near_duplicates"]

_PERMUTATIONS = 128
_BANDS = 16
"""16 bands of 8 hashes: a pair with a Jaccard index of 0.8 is compared with probability 0.95, one with 0.5 with
probability 0.06."""
_WORDS_IN_A_RUN = 3
_SHORT_WORDS = 20
"""In a text of so few words, ``(1, 2)`` and ``[1, 2]``, or ``1.5`` and ``1,5``, make another answer."""
_MARKS = re.compile(r"([-()\[\]{}]|[.,:;'](?=\w|\())|\w+")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, with well-mixed bits: the golden ratio times 2**64

Signatures = NDArray[np.uint32]


def near_duplicates(
    texts: Sequence[Sequence[str]], *, threshold: float, advance: Callable[[], None] = lambda: None
) -> dict[int, int]:
    """Find texts that are near-duplicates of an earlier text that is kept.

    Args:
        texts: the texts to compare, each as its parts. The last parts of two texts must be as similar on their own:
            a short response is not lost in a long prompt.
        threshold: the Jaccard index of word 3-grams (estimated from 128 hashes) from which two texts are
            near-duplicates.
        advance: called once per text, to show progress.

    Returns:
        The position of each near-duplicate, with that of the earlier text it duplicates. The earlier text is never
        itself a near-duplicate, so one text of each group is left when all of these are removed.
    """
    signatures = _signatures(texts, advance)
    kept_instead: dict[int, int] = {}
    for later, earlier in _candidate_pairs(signatures):
        if later in kept_instead:
            continue
        original = kept_instead.get(earlier, earlier)
        if _agreement(signatures, later, original) >= threshold and (
            _similarity(texts[later][-1], texts[original][-1]) >= threshold
        ):
            kept_instead[later] = original
    return kept_instead


def _similarity(one: str, other: str) -> float:
    """The Jaccard index of the word 3-grams of two texts; 0 where brackets or operators of short ones differ."""
    if one == other:
        return 1.0
    first, second = words(one), words(other)
    if max(len(first), len(second)) <= _SHORT_WORDS and _marks(one) != _marks(other):
        return 0.0
    runs, others = (run_hashes(text, _WORDS_IN_A_RUN) for text in (first, second))
    return len(runs & others) / len(runs | others)


def _marks(text: str) -> list[str]:
    """The punctuation of code, numbers and names, with an empty text for each word between; not that of sentences."""
    return _MARKS.findall(normalised(text))


def _signatures(texts: Sequence[Sequence[str]], advance: Callable[[], None]) -> Signatures:
    """The MinHash of each text: [texts, permutations]."""
    from datasketch import MinHash

    signatures = np.empty((len(texts), _PERMUTATIONS), dtype=np.uint32)
    runs: Iterable[Any] = (
        run_hashes([word for part in text for word in words(part)], _WORDS_IN_A_RUN) for text in texts
    )
    # The n-grams are hashed already; MinHash permutes the hashes and takes the minimum.
    for row, minhash in enumerate(MinHash.generator(runs, num_perm=_PERMUTATIONS, hashfunc=int)):
        signatures[row] = minhash.hashvalues
        advance()
    return signatures


def _candidate_pairs(signatures: Signatures) -> Iterator[tuple[int, int]]:
    """Pairs (later, earlier) that agree in a whole band, sorted by the later text.

    A text is paired with the first and with the previous text of its band, not with all, so there are at most 32
    pairs per text.
    """
    pairs: list[NDArray[np.int64]] = []
    rows_in_band = _PERMUTATIONS // _BANDS
    for start in range(0, _PERMUTATIONS, rows_in_band):
        keys = _mixed(signatures[:, start : start + rows_in_band])
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        same_as_before = inverse[order][1:] == inverse[order][:-1]
        later, before = order[1:][same_as_before], order[:-1][same_as_before]
        pairs += [np.stack([later, first[inverse[later]]], axis=1), np.stack([later, before], axis=1)]
    every = np.unique(np.concatenate(pairs), axis=0) if pairs else np.empty((0, 2), dtype=np.int64)
    for later, earlier in every:
        yield int(later), int(earlier)


def _mixed(band: Signatures) -> NDArray[np.uint64]:
    """One hash per row of a band. A collision only adds a pair to compare."""
    keys = np.zeros(len(band), dtype=np.uint64)
    for column in band.T:
        keys = (keys ^ column) * _MULTIPLIER
        keys ^= keys >> np.uint64(29)
    return keys


def _agreement(signatures: Signatures, one: int, other: int) -> float:
    """The fraction of hashes that agree: an estimate of the Jaccard index."""
    return float(np.mean(signatures[one] == signatures[other]))
