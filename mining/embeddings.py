"""Embeddings as an artifact of their own: what is encoded once is never encoded again.

    vectors.npy  float16 [n, dim], one row a distinct text, of length 1 (0 for a text of no token)
    texts.npy    the first 128 bits of the SHA-256 of each text, which no two texts share by chance
    tokens.npy   int32 [n], what SentenceEncoder.token_lengths counts

A vector that was just encoded is read back like one of an earlier run, so both give the same
scores. Rounding to float16 moves a cosine by about 1e-5.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artifacts.encoder import Rows, VectorRows, Vectors
from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.models import ModelRef
from artifacts.store import Artifact, Store
from mining.options import EncoderOptions

if TYPE_CHECKING:
    from mining.encode import SentenceEncoder

# Raise it when the same model, options and texts give other files, and with it the VERSION of
# pairs and of mine.
VERSION = 1
STAGE = "embeddings"

_Names = npt.NDArray[np.bytes_]  # of texts; 16 bytes each, so NumPy compares all of them

_DIGEST_BYTES = 16
_ROWS_AT_ONCE = 1024  # bounds what is held in float64


def embed(
    store: Store,
    dataset: str,
    model: ModelRef,
    options: EncoderOptions,
    texts: Sequence[str],
    environment: Mapping[str, str],
) -> Artifact:
    """The embeddings of the distinct `texts`, encoded now or found; found, no model is loaded.

    The key holds every encoder option: those that bound memory move a vector too, by float noise.
    Raises as load_encoder and SentenceEncoder.
    """
    distinct = list(dict.fromkeys(texts))
    names = _names(distinct)
    params = {
        "model": model.key,
        "encoding": options.model_dump(mode="json"),
        "texts": hashlib.sha256(names.tobytes()).hexdigest(),
    }

    def make(folder: Path) -> Mapping[str, Any]:
        from mining.encode import load_encoder  # seconds, for what is mostly found

        np.save(folder / "texts.npy", names)
        return _write_vectors(load_encoder(model.folder, options), distinct, folder)

    return store.build(Spec(STAGE, dataset, VERSION, params), make, environment)[0]


def find_embeddings(store: Store, dataset: str, keys: Sequence[str]) -> list[Artifact]:
    """The artifacts of `keys`, or none where one of them is missing or broken."""
    found = [store.find_key(STAGE, dataset, key) for key in keys]
    whole = [artifact for artifact in found if artifact is not None]
    return whole if len(whole) == len(found) else []


class StoredVectors:
    """artifacts.encoder.Encode by looking up embeddings, memory-mapped; it encodes nothing.

    `rows` looks them up too, but reads none before it is asked for.

    Raises InputError where the artifacts (one at least) are of vectors of different lengths.
    """

    def __init__(self, artifacts: Sequence[Artifact]) -> None:
        self.keys = [artifact.manifest.key for artifact in artifacts]
        self._vectors = [np.load(each.file("vectors.npy"), mmap_mode="r") for each in artifacts]
        self.dimension = int(self._vectors[0].shape[1])
        for artifact, vectors in zip(artifacts, self._vectors, strict=True):
            if vectors.shape[1] != self.dimension:
                raise InputError(
                    f"embeddings of two encoders: vectors have {self.dimension} dimensions in "
                    f"{artifacts[0].folder} and {vectors.shape[1]} in {artifact.folder}"
                )
        names = np.concatenate([np.load(each.file("texts.npy")) for each in artifacts])
        self._tokens = np.concatenate([np.load(each.file("tokens.npy")) for each in artifacts])
        self._order = np.argsort(names, kind="stable")
        self._sorted = names[self._order]

    def __call__(self, texts: Sequence[str]) -> Vectors:
        """fp32 [len(texts), dim] in the caller's order, each row of length 1, or 0.

        The very same for a text in whatever company. Raises LookupError for a text that has no
        vector.
        """
        return self.read(self._rows(texts))

    def rows(self, texts: Sequence[str]) -> VectorRows:
        """What __call__ gives, read as it is needed. Raises as __call__."""
        return _Rows(self, self._rows(texts))

    def read(self, rows: Rows) -> Vectors:
        """As __call__, of rows counted through all artifacts."""
        found = np.empty((len(rows), self.dimension), np.float32)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            found[part] = _of_length_one(self._at(rows[part]))
        return found

    def tokens(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """SentenceEncoder.token_lengths of `texts`. Raises as __call__."""
        counts: npt.NDArray[np.int32] = self._tokens[self._rows(texts)]
        return counts

    def _at(self, rows: Rows) -> npt.NDArray[np.float16]:
        found = np.empty((len(rows), self.dimension), np.float16)
        first = 0
        for vectors in self._vectors:
            here = (rows >= first) & (rows < first + len(vectors))
            found[here] = vectors[rows[here] - first]
            first += len(vectors)
        return found

    def _rows(self, texts: Sequence[str]) -> Rows:
        names = _names(texts)
        places = np.searchsorted(self._sorted, names)
        known = places < len(self._sorted)
        known[known] = self._sorted[places[known]] == names[known]
        if not known.all():
            absent = texts[int(np.argmin(known))]
            raise LookupError(f"no vector of {absent[:80]!r} in the embeddings {self.keys}")
        return self._order[places]


@dataclass(frozen=True)
class _Rows:
    """VectorRows of stored vectors."""

    stored: StoredVectors
    at: Rows

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.at), self.stored.dimension

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: slice | Rows, /) -> Vectors:
        return self.stored.read(self.at[rows])


def _write_vectors(encoder: SentenceEncoder, texts: list[str], folder: Path) -> dict[str, Any]:
    """vectors.npy and tokens.npy, batch by batch; returns the counts of the artifact."""
    tokens = encoder.token_lengths(texts)
    np.save(folder / "tokens.npy", np.array(tokens, np.int32))
    path, shape = folder / "vectors.npy", (len(texts), encoder.dimension)
    if texts:
        vectors = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        for rows, batch in encoder.batches(texts, tokens):
            vectors[rows] = batch
        vectors.flush()
    else:
        np.save(path, np.empty(shape, np.float16))  # nothing to map
    return {
        "texts": len(texts),
        "dimension": encoder.dimension,
        "tokens": sum(tokens),
        "precision": encoder.precision,
    }


def _names(texts: Sequence[str]) -> _Names:
    digests = (hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES] for text in texts)
    return np.frombuffer(b"".join(digests), f"S{_DIGEST_BYTES}")


def _of_length_one(rounded: npt.NDArray[np.float16]) -> Vectors:
    """Squares of float16 and their sums are exact in float64: a norm hangs on no order."""
    exact = rounded.astype(np.float64)
    norms = np.sqrt((exact * exact).sum(axis=1, keepdims=True))
    return (exact / np.where(norms > 0, norms, 1.0)).astype(np.float32)
