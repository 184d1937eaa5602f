"""Tables of pairs to mine, and encoders whose cosines can be told from the text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from artifacts.encoder import Vectors
from artifacts.row import PAIRS
from mining.options import MiningOptions

_DIM = 48


def bag_of_words(texts: Sequence[str]) -> Vectors:
    """Each word has a fixed direction; a text is the sum of its words; no words, no direction."""
    vectors = np.zeros((len(texts), _DIM))
    for i, text in enumerate(texts):
        for word in text.lower().split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            vectors[i] += np.random.default_rng(seed).normal(size=_DIM)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def by_number(texts: Sequence[str]) -> Vectors:
    """A text that starts with a number has that cosine with any text that starts with a letter."""
    cosines = np.array([1.0 if text[0].isalpha() else float(text.split()[0]) for text in texts])
    return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)


def make_pairs(*rows: dict[str, Any]) -> pa.Table:
    filled = [
        {"row_id": i, "known_pos": [row["pos"]], "neg": [], "negatives": None, **row}
        for i, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(filled, schema=PAIRS)


def options(**fields: Any) -> MiningOptions:
    return MiningOptions(**{"negatives": 1, "device": "cpu", **fields})


ANIMALS = make_pairs(
    {"query": "where do otters live", "pos": "otters live in rivers"},
    {"query": "where do badgers live", "pos": "badgers live in setts"},
    {"query": "where do bees live", "pos": "bees live in hives"},
    {"query": "how tall is a giraffe", "pos": "a giraffe is five metres tall"},
    {"query": "how tall is an elephant", "pos": "an elephant is three metres tall"},
)

_WORDS = st.sampled_from(["otter", "bee", "Badger", "swims", "sings", "fast", "river", "hive"])
_TEXT = st.lists(_WORDS, min_size=1, max_size=4).map(" ".join)
# Rows for make_pairs that share many words, and some whole texts.
ROWS_OF_WORDS = st.builds(
    lambda query, pos, more: {"query": query, "pos": pos, "known_pos": [pos, *more]},
    _TEXT,
    _TEXT,
    st.lists(_TEXT, max_size=2),
)
