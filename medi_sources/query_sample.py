"""A seeded sample of the distinct queries of a source, in memory bounded by its size."""

from __future__ import annotations

import hashlib
import heapq
from dataclasses import dataclass, field

from artifacts.text import normalise
from medi_sources.dropped import DroppedRows
from medi_sources.readers import Dropped, Item


def rank(seed: int, text: str) -> int:
    """A place in 2**128 for a text, drawn by the seed; the lowest ranks make the sample."""
    drawn = hashlib.blake2b(f"{seed}\n{text}".encode(), digest_size=16)
    return int.from_bytes(drawn.digest(), "big")


@dataclass
class Query:
    """The first row of a query, and the positives of all its rows by their normal form."""

    item: Item
    known: dict[str, str]
    followers: list[Dropped] = field(default_factory=list)  # later rows of the query

    def join(self, item: Item) -> None:
        """Take the positives of a later row; "duplicate" where it has no new one."""
        news = {key: text for key, text in _by_normal_form(item).items() if key not in self.known}
        self.known |= news
        reason = "joined" if news else "duplicate"
        self.followers.append(Dropped(item.row_id, reason, f"row {self.item.row_id}"))


class QuerySample:
    """Takes clean items in row order and keeps the `cap` queries of lowest rank.

    All rows of a query have its rank: they are taken or left together, so what is joined does
    not depend on the cap, and only what is taken is held. Rows left are dropped.
    """

    def __init__(self, cap: int | None, seed: int, dropped: DroppedRows) -> None:
        self._cap = cap
        self._seed = seed
        self._dropped = dropped
        self._taken: dict[int, Query] = {}
        self._ranks: list[int] = []  # negated, a heap: the highest rank taken comes first

    def add(self, item: Item) -> None:
        place = rank(self._seed, normalise(item.query))
        if place in self._taken:
            self._taken[place].join(item)
            return
        if self._cap is not None and len(self._taken) == self._cap:
            if place > -self._ranks[0]:
                self._leave(item.row_id)
                return
            left = self._taken.pop(-heapq.heappop(self._ranks))
            self._leave(left.item.row_id, *(each.row_id for each in left.followers))
        heapq.heappush(self._ranks, -place)
        self._taken[place] = Query(item, _by_normal_form(item))

    def finish(self) -> list[Query]:
        """The queries taken, by row_id; rows joined into them are dropped."""
        queries = sorted(self._taken.values(), key=lambda query: query.item.row_id)
        for query in queries:
            for follower in query.followers:
                self._dropped.add(follower)
        return queries

    def _leave(self, *row_ids: int) -> None:
        for row_id in row_ids:
            self._dropped.add(Dropped(row_id, "over_cap"))


def _by_normal_form(item: Item) -> dict[str, str]:
    return {normalise(text): text for text in item.positives}
