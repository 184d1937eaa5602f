"""Which candidates of one row may be its negatives."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any, Literal

from artifacts.text import normalise

Rule = Literal["known_positive", "margin"]


@dataclass(frozen=True)
class Choice:
    """Corpus rows with their scores, best first, and how often each rule passed one over."""

    rows: tuple[int, ...]
    scores: tuple[float, ...]
    passed_over: dict[Rule, int]


def score_bound(pos_score: float, margin: float) -> float:
    """A negative must score below this: p - (1 - margin) * |p|.

    That is margin * p for a positive p, and still below p for a negative one, where margin * p
    would let in texts nearer than the positive. Rounded to 1e-9, so that scores of 1e-4 steps
    compare as on paper.
    """
    return round(pos_score - (1 - margin) * abs(pos_score), 9)


def choose(
    candidates: Iterable[tuple[int, float]],
    known: Callable[[int], bool],
    bound: float,
    need: int,
) -> Choice:
    """The first `need` of (corpus row, score) that are not known positives and score below bound.

    A candidate that breaks both rules counts as a known positive.
    """
    rows: list[int] = []
    scores: list[float] = []
    passed_over: dict[Rule, int] = {"known_positive": 0, "margin": 0}
    for row, score in candidates:
        if len(rows) == need:
            break
        if known(row):
            passed_over["known_positive"] += 1
        elif score >= bound:
            passed_over["margin"] += 1
        else:
            rows.append(row)
            scores.append(score)
    return Choice(tuple(rows), tuple(scores), passed_over)


def random_rows(corpus_size: int, count: int, seed: int, row_id: int) -> list[int]:
    """At most `count` distinct corpus rows. The draw hangs on (seed, row_id), not on any order."""
    digest = hashlib.sha256(f"{seed} {row_id}".encode()).digest()
    draw = random.Random(int.from_bytes(digest[:8], "big"))
    return draw.sample(range(corpus_size), min(count, corpus_size))


def known_positives(rows: Iterable[dict[str, Any]], symmetric: bool) -> dict[str, Set[str]]:
    """Normalised query -> every normalised text known to be right for it, itself included.

    Rows of one normalised query share what they know. In a symmetric dataset a row says of its
    positives too that the query is right for them.
    """
    known: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        query = normalise(row["query"])
        right = {normalise(text) for text in (row["pos"], *row["known_pos"])}
        known[query] |= right | {query}
        if symmetric:
            for text in right:
                known[text].add(query)
    return dict(known)
