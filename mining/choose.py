"""The rules for the negatives of one row, and the order in which candidates are tried."""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass
from typing import Literal, Self, get_args

from mining.options import MiningOptions

# Why a candidate is passed over: the first rule that it breaks, in this order.
Rule = Literal[
    "rank", "known_positive", "own_negative", "margin", "max_score", "min_score", "veto"
]  # fmt: skip
RULES: tuple[Rule, ...] = get_args(Rule)


def score_bound(pos_score: float, margin: float) -> float:
    """A negative must score below this: p - (1 - margin) * |p|.

    That is margin * p for a positive p, and still below p for a negative one, where margin * p
    would let in texts nearer than the positive. Rounded to 1e-9, so that scores of 1e-4 steps
    compare as on paper.
    """
    return round(pos_score - (1 - margin) * abs(pos_score), 9)


@dataclass(frozen=True)
class Limits:
    """What a negative of one row may score."""

    bound: float  # below it
    most: float
    least: float

    @classmethod
    def of(cls, pos_score: float, options: MiningOptions) -> Self:
        off = math.inf
        return cls(
            off if options.margin is None else score_bound(pos_score, options.margin),
            off if options.max_score is None else options.max_score,
            -off if options.min_score is None else options.min_score,
        )

    def broken_by(self, score: float) -> Rule | None:
        if score >= self.bound:
            return "margin"
        if score > self.most:
            return "max_score"
        return "min_score" if score < self.least else None


def random_rows(corpus_size: int, count: int, seed: int, row_id: int) -> list[int]:
    """At most `count` distinct corpus rows. The draw hangs on (seed, row_id), not on any order."""
    return _draw(f"{seed} {row_id}").sample(range(corpus_size), min(count, corpus_size))


def order_of_ranks(options: MiningOptions, row_id: int) -> list[int]:
    """The ranks from `first_rank` to `candidates`, from 1, in the order in which they are tried.

    For a random choice a shuffle that hangs on (seed, row_id): what rules exclude elsewhere in the
    window moves no rank.
    """
    ranks = list(range(options.first_rank, options.candidates + 1))
    if options.choice == "random":
        _draw(f"{options.seed} {row_id} ranks").shuffle(ranks)
    return ranks


def _draw(label: str) -> random.Random:
    digest = hashlib.sha256(label.encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))
