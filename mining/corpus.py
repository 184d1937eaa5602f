"""The vectors of a dataset's texts, and the nearest candidates of its queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.encoder import Rows, VectorRows, Vectors
from artifacts.errors import DatasetError
from mining.known import Keys
from mining.options import MiningOptions
from mining.search import cosines, top_k

# As artifacts.encoder.Encode; the vectors may lie on disk.
Embed = Callable[[Sequence[str]], VectorRows]

_AT_ONCE = 4096  # vectors whose lengths are taken at once
_LENGTH_TOLERANCE = 1e-3  # rounding a vector to fp16 moves its length by half of that


class Space:
    """Distinct texts with their vectors."""

    def __init__(self, texts: list[str], encode: Embed) -> None:
        """Raises DatasetError where a text has no vector of length 1, or 0 for no direction."""
        self._at = {text: i for i, text in enumerate(texts)}
        self._vectors = encode(texts)
        _require_unit(self._vectors, texts)

    def of(self, texts: Iterable[str]) -> VectorRows:
        return _Chosen(self._vectors, self._rows(texts))

    def cosines(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        """Of text left[i] and text right[i], as decimals of 1e-4."""
        scores = cosines(self._vectors, self._rows(left), self._rows(right))
        written: list[float] = as_written(scores).tolist()
        return written

    def _rows(self, texts: Iterable[str]) -> Rows:
        return np.array([self._at[text] for text in texts], np.int64)


@dataclass(frozen=True)
class _Chosen:
    """VectorRows: some of others, in another order, without a copy of them."""

    vectors: VectorRows
    rows: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.vectors.shape[1:]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | Rows, /) -> Vectors | npt.NDArray[np.float16]:
        return self.vectors[self.rows[rows]]


@dataclass(frozen=True)
class Corpus:
    """The candidates and, for each query that was searched, the nearest of them.

    `keys` are those of `texts`; `found` is what the search gives, a row each of `queries`.
    """

    texts: list[str]
    keys: list[int]
    row_of: Mapping[int, int]  # by key
    queries: Mapping[str, int]
    found: tuple[Rows, npt.NDArray[np.float64]]
    depth: int

    def ranked(self, query: str, key: int) -> list[tuple[int, float]]:
        """(row of the corpus, score) by rank, best first: the query itself has none."""
        rows, scores = (side[self.queries[query]].tolist() for side in self.found)
        ranked = list(zip(rows, scores, strict=True))
        own = self.row_of.get(key)
        if own in rows:
            del ranked[rows.index(own)]
        return ranked[: self.depth]


def search(
    rows: Sequence[Mapping[str, Any]],
    queries: Iterable[str],
    symmetric: bool,
    space: Space,
    keys: Keys,
    options: MiningOptions,
) -> Corpus:
    """Candidates are the positives and negatives of all rows, and the queries of a symmetric
    dataset, in order of the rows; of texts equal when normalised, the first as it is written.

    Without a query to search for there is no candidate.
    """
    wanted = {query: i for i, query in enumerate(dict.fromkeys(queries))}
    depth = max(options.candidates, options.consistency or 0)
    texts: dict[int, str] = {}
    for row in rows if wanted else ():
        own = [row["query"]] if symmetric else []
        for text in (row["pos"], *own, *row["neg"]):
            texts.setdefault(keys[text], text)
    nearest, scores = top_k(
        space.of(wanted),
        space.of(texts.values()),
        depth + 1,  # the query itself may be among them
        options.memory_mib,
        options.device,
    )
    return Corpus(
        texts=list(texts.values()),
        keys=list(texts),
        row_of={key: row for row, key in enumerate(texts)},
        queries=wanted,
        found=(nearest, as_written(scores)),
        depth=depth,
    )


def as_written(scores: Vectors) -> npt.NDArray[np.float64]:
    """The decimals that rounded fp32 scores stand for, so that they compare as on paper."""
    written: npt.NDArray[np.float64] = np.rint(scores.astype(np.float64) * 1e4) / 1e4
    return written


def _require_unit(vectors: VectorRows, texts: Sequence[str]) -> None:
    if len(vectors.shape) != 2 or len(vectors) != len(texts):
        raise DatasetError(
            f"the encoder gave vectors of shape {vectors.shape} for {len(texts)} texts: mining "
            "needs one vector a text, all of one dimension"
        )
    for start in range(0, len(texts), _AT_ONCE):
        lengths = np.linalg.norm(vectors[start : start + _AT_ONCE], axis=1)
        unit = (np.abs(lengths - 1) <= _LENGTH_TOLERANCE) | (lengths == 0)  # false for NaN
        if not unit.all():
            bad = int(np.argmin(unit))
            raise DatasetError(
                f"the vector of the text {texts[start + bad][:80]!r} has length {lengths[bad]}: "
                "mining needs finite vectors of length 1, or 0 where a text has no direction"
            )
