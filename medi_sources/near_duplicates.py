"""Near-duplicates: rows whose texts share most of their character 5-grams.

MinHash and locality-sensitive hashing (datasketch) name the pairs to look at, the exact Jaccard
similarity decides. Characters, not words: a query has few words, and not all scripts have spaces.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from artifacts.text import normalise

_SHINGLE = 5  # characters
_PERMUTATIONS = 64
_RECALL = 0.99
_SEED = 1


def near_duplicates(rows: Sequence[tuple[str, ...]], threshold: float) -> dict[int, int]:
    """Position of each near-duplicate -> position of the earlier row that stays in its place.

    A row is one of an earlier one that is none itself if each of its texts (its query, its
    positive) has a Jaccard similarity of at least `threshold` with the other's. Such a pair is
    found with a probability of 0.99 at the threshold and more above it; the seed is fixed, so
    the same rows give the same result everywhere. Takes about 4 KB a row.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=_PERMUTATIONS, params=_bands(threshold))
    empty = MinHash(_PERMUTATIONS, seed=_SEED, hashfunc=zlib.crc32)
    found: dict[int, int] = {}
    for i, texts in enumerate(rows):
        shingles = [_shingles(text) for text in texts]
        sketch = empty.copy()
        # Marked by the text they are from: if each text is similar enough, so is the whole.
        sketch.update_batch(f"{n}{each}".encode() for n, of in enumerate(shingles) for each in of)
        for j in sorted(index.query(sketch)):
            pairs = zip(shingles, rows[j], strict=True)
            if all(_jaccard(of, _shingles(text)) >= threshold for of, text in pairs):
                found[i] = j
                break
        else:
            index.insert(i, sketch, check_duplication=False)
    return found


def _bands(threshold: float) -> tuple[int, int]:
    """Bands and rows a band, of as many rows as find a pair at the threshold with _RECALL."""
    shapes = [(_PERMUTATIONS // rows, rows) for rows in range(1, _PERMUTATIONS // 2 + 1)]
    return [(b, r) for b, r in shapes if 1 - (1 - threshold**r) ** b >= _RECALL][-1]


def _shingles(text: str) -> set[str]:
    text = normalise(text)
    return {text[i : i + _SHINGLE] for i in range(max(1, len(text) - _SHINGLE + 1))}


def _jaccard(one: set[str], other: set[str]) -> float:
    return len(one & other) / len(one | other)
