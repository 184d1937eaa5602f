"""Which texts are known to be right for which query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from artifacts.text import normalise

Through = Literal["query", "positive", "group"]


class Keys(dict[str, int]):
    """Text -> a number that texts which are equal when normalised share."""

    def __init__(self) -> None:
        super().__init__()
        self._of_normal: dict[str, int] = {}

    def __missing__(self, text: str) -> int:
        key = self._of_normal.setdefault(normalise(text), len(self._of_normal))
        self[text] = key
        return key


class Known:
    """Rows of one query share what they know; texts and queries are given by their keys.

    In a symmetric dataset a row says of its positives too that the query is right for them, and
    `through` says how far that leads. With a=b, b=c and c=d, a's known texts are

    - "query": b. Right where the relation is not transitive: b follows from a, b cites c.
    - "positive": b and c. As a negative of a, c would be pulled to b by one row and pushed from a,
      which b is pulled to, by another.
    - "group": b, c and d. Right for true duplicates; where one general text is right for
      thousands, it leaves them no negative.

    In any other dataset `through` is "query": two questions that one passage answers are two.
    """

    def __init__(
        self, rows: Iterable[Mapping[str, Any]], symmetric: bool, through: Through, keys: Keys
    ) -> None:
        self._right = _right(rows, symmetric, keys)
        self._through = through if symmetric else "query"
        self._group = _groups(self._right) if self._through == "group" else {}

    def right_for(self, query: int) -> Callable[[int], bool]:
        """Whether a text is known to be right for the query; the query itself is."""
        if self._through == "group":
            group = self._group.get(query, query)
            return lambda text: self._group.get(text, text) == group
        right = self._right.get(query, {query})
        if self._through == "query":
            return right.__contains__
        return lambda text: not right.isdisjoint(self._right.get(text, {text}))


def _right(rows: Iterable[Mapping[str, Any]], symmetric: bool, keys: Keys) -> dict[int, set[int]]:
    """Query -> what its rows know, and itself; symmetric: the other way round as well."""
    right: dict[int, set[int]] = defaultdict(set)
    for row in rows:
        query = keys[row["query"]]
        texts = {keys[text] for text in (row["pos"], *row["known_pos"])}
        right[query] |= texts | {query}
        if symmetric:
            for text in texts:
                right[text] |= {query, text}
    return dict(right)


def _groups(right: Mapping[int, set[int]]) -> dict[int, int]:
    """Text -> a number that all texts which links lead to share."""
    group: dict[int, int] = {}
    for start in right:
        reached = [] if start in group else [start]
        while reached:
            text = reached.pop()
            if text not in group:
                group[text] = start
                reached.extend(right[text])
    return group
