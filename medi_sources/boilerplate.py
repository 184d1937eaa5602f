"""Boilerplate: a text that a source gives as the positive of too many different queries.

"Thank you!" and "I don't know" answer nothing, and as the positive of one row are right for the
other rows of a batch as well.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from artifacts.text import normalise
from medi_sources.clean import CleaningOptions, shown
from medi_sources.readers import Dropped, Item

_ERROR = 0.1  # of the share: how far the counts of the first pass may be too high


def find_boilerplate(
    items: Callable[[], Iterator[Item]], symmetric: bool, options: CleaningOptions
) -> frozenset[bytes]:
    """Digests of the texts that are positives of at least `boilerplate_queries` different queries
    and of more than `boilerplate_share` of the rows. A set asks for each of its texts.

    None for Super-NI, whose inputs are distinct, and for symmetric pairs, where a caption may be
    right for many. Each call of `items` gives all clean rows anew; it is called twice at most.
    Memory does not grow with the rows: lossy counting (Manku and Motwani 2002) finds the few
    texts that may be boilerplate, and the different queries of those alone are counted.
    """
    if options.boilerplate_share == 1:
        return frozenset()
    suspects, bound = _suspects(items(), symmetric, options)
    queries: dict[bytes, set[bytes]] = {text: set() for text in suspects}
    for item in items() if suspects else ():
        for text in suspects & _positives(item).keys():
            if len(queries[text]) <= bound:
                queries[text].add(_query(item))
    return frozenset(text for text, met in queries.items() if len(met) > bound)


def without_boilerplate(item: Item, boilerplate: frozenset[bytes]) -> Item | Dropped:
    """The clean item without its positives that are boilerplate; dropped if none is left."""
    if not boilerplate:
        return item
    bad = [text for key, text in _positives(item).items() if key in boilerplate]
    left = [text for text in item.positives if text not in bad]
    if item.is_set and item.query in bad and left:
        item = replace(item, query=left.pop(0))
    if not left:
        return Dropped(item.row_id, "boilerplate", shown("positive", bad[0]))
    return replace(item, positives=tuple(left))


def _suspects(
    items: Iterator[Item], symmetric: bool, options: CleaningOptions
) -> tuple[set[bytes], float]:
    """Texts whose rows may be more than the bound, none missing, and the bound."""
    width = math.ceil(1 / (_ERROR * options.boilerplate_share))
    counts: dict[bytes, int] = {}
    forgotten = 0  # the most rows that a text not in counts can have been met in
    rows = 0
    for rows, item in enumerate(items, 1):
        if item.output is not None or (symmetric and not item.is_set):
            return set(), 0
        for text in _positives(item):
            counts[text] = counts.get(text, forgotten) + 1
        if rows % width == 0:
            forgotten += 1
            counts = {text: count for text, count in counts.items() if count > forgotten}
    bound = max(options.boilerplate_queries - 1, options.boilerplate_share * rows)
    return {text for text, count in counts.items() if count > bound}, bound


def _positives(item: Item) -> dict[bytes, str]:
    """The texts that count, by digest."""
    texts = (item.query, *item.positives) if item.is_set else item.positives
    return {_digest(normalise(text)): text for text in texts}


def _query(item: Item) -> bytes:
    """What makes two rows different queries; a set is one query, whatever text comes first."""
    if item.is_set:
        return _digest("\n".join(sorted(map(normalise, (item.query, *item.positives)))))
    return _digest(normalise(item.query))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
