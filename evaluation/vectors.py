"""Vectors of texts on disk, shared by all tasks and all processes: a text is encoded once.

`<store>/vectors/<space key>/<key>/` holds what one piece of work has encoded, two files in the
order of the digests:

    digests.npy  uint64 [2, n], the halves of each text's BLAKE2b-128, sorted by the first of them
    vectors.npy  float32 [n, dimension]

Of all pieces the digests are held in memory, 16 bytes a text; vectors are read as they are needed.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.keys import Spec, canonical_json
from artifacts.store import Store

STAGE = "vectors"
VERSION = 1  # raise it when the same texts of the same space give other vectors

Digests = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

_ROW_BITS = 32  # of a position; the piece is above them
_ROWS_AT_ONCE = 4096  # of what is read


@dataclass(frozen=True)
class Space:
    """All that the vector of a text depends on, apart from the text.

    `prompt` is the exact string put in front of it. `route` is "query" or "document" where the
    model has a path for each, else "". `max_length` counts tokens (None: no limit), and `dtype` is
    that of the model's weights.
    """

    model: str
    prompt: str
    route: str
    max_length: int | None
    dtype: str

    @cached_property
    def key(self) -> str:
        """24 hexadecimal digits."""
        text = canonical_json({"version": VERSION, **asdict(self)})
        return hashlib.sha256(text.encode()).hexdigest()[:24]


class SharedVectors:
    """The vectors of one space. Several processes may read and add at once."""

    def __init__(self, store: Store, space: Space) -> None:
        self._store, self._space = store, space
        self._pieces: list[tuple[Path, Digests]] = []
        self._known: set[str] = set()
        self._last = 0  # the piece of the last hit: a corpus is asked for as it was added
        self._dimension: int | None = None

    @property
    def dimension(self) -> int | None:
        """None until a vector was found or added."""
        return self._dimension

    def find(self, digests_2N: Digests) -> Positions:
        """Where the vectors lie, for `read`: int64 [N], -1 for a text that has none.

        What other processes have added by now is seen. Broken artifacts are passed over.
        """
        self._look_for_pieces()
        positions_N = np.full(digests_2N.shape[1], -1, np.int64)
        sought = np.argsort(digests_2N[0])  # needles in order are found several times as fast
        count = len(self._pieces)
        for piece in (np.arange(count) + self._last) % max(count, 1):
            if not len(sought):
                break
            rows = _rows(self._pieces[piece][1], digests_2N[:, sought])
            found = rows >= 0
            if found.any():
                positions_N[sought[found]] = (piece << _ROW_BITS) + rows[found]
                sought, self._last = sought[~found], int(piece)
        return positions_N

    def add(self, digests_2N: Digests, vectors_ND: Matrix) -> None:
        """Store a piece, whole or not at all. The digests must be distinct."""
        order = np.lexsort((digests_2N[1], digests_2N[0]))
        sorted_2N = np.ascontiguousarray(digests_2N[:, order])

        def make(folder: Path) -> Mapping[str, Any]:
            np.save(folder / "digests.npy", sorted_2N)
            np.save(folder / "vectors.npy", np.asarray(vectors_ND, np.float32)[order])
            return {"texts": len(order), "dimension": int(vectors_ND.shape[1])}

        texts = hashlib.sha256(sorted_2N.tobytes()).hexdigest()
        params = {"space": asdict(self._space), "texts": texts}
        spec = Spec(STAGE, self._space.key, VERSION, params)
        artifact, _ = self._store.build(spec, make, _environment())
        self._open(artifact.manifest.key)

    def read(self, positions_N: Positions, into_ND: Matrix) -> None:
        """Write the vectors at `positions_N`, none of them -1, into float32 [N, dimension]."""
        if len(positions_N) and positions_N.min() < 0:
            raise LookupError("a text has no vector: find says which, and they must be added first")
        order = np.argsort(positions_N, kind="stable")
        pieces = positions_N[order] >> _ROW_BITS
        starts = np.flatnonzero(np.diff(pieces, prepend=-1))
        for start, stop in pairwise([*starts, len(order)]):
            # Opened for this only: each of thousands of pieces would keep a descriptor.
            vectors = np.load(self._pieces[pieces[start]][0], mmap_mode="r")
            for first in range(start, stop, _ROWS_AT_ONCE):
                some = order[first : min(first + _ROWS_AT_ONCE, stop)]
                into_ND[some] = vectors[positions_N[some] & ((1 << _ROW_BITS) - 1)]

    def _look_for_pieces(self) -> None:
        for key in self._store.new_keys(STAGE, self._space.key, self._known):
            self._open(key)

    def _open(self, key: str) -> None:
        if key in self._known:
            return
        artifact = self._store.find_key(STAGE, self._space.key, key)
        if artifact is not None:
            digests_2N = np.load(artifact.file("digests.npy"))
            self._pieces.append((artifact.file("vectors.npy"), digests_2N))
            self._known.add(key)
            self._dimension = int(artifact.manifest.counts["dimension"])


def _environment() -> dict[str, str]:
    packages = ("torch", "transformers", "sentence-transformers")
    return {"machine": platform.machine(), **{name: version(name) for name in packages}}


def digests_of(texts: Iterable[str]) -> Digests:
    """uint64 [2, N], the halves of the BLAKE2b-128 of each text."""
    packed = b"".join(hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts)
    return np.ascontiguousarray(np.frombuffer(packed, "<u8").reshape(-1, 2).T).astype(np.uint64)


def distinct(digests_2N: Digests) -> tuple[Positions, Positions]:
    """Where each distinct digest stands first, [M], and which of these each one is, [N]."""
    order = np.lexsort((digests_2N[1], digests_2N[0]))
    sorted_2N = digests_2N[:, order]
    new = np.ones(len(order), bool)
    new[1:] = (sorted_2N[:, 1:] != sorted_2N[:, :-1]).any(axis=0)
    which_N = np.empty(len(order), np.int64)
    which_N[order] = np.cumsum(new) - 1
    return order[new], which_N


def _rows(sorted_2P: Digests, sought_2N: Digests) -> Positions:
    """The row of each sought digest in a piece, -1 where it is not."""
    first_P, second_P = sorted_2P
    rows_N = np.searchsorted(first_P, sought_2N[0])
    while True:
        inside = np.minimum(rows_N, len(first_P) - 1)
        same_half = (rows_N < len(first_P)) & (first_P[inside] == sought_2N[0])
        other = same_half & (second_P[inside] != sought_2N[1])
        if not other.any():
            return np.where(same_half, rows_N, -1)
        rows_N = rows_N + other
