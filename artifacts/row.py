"""The tables that pass from stage to stage, and the MEDI row they end in.

pairs  -> PAIRS   one clean (query, positive) of a source, with what is known against it
mine   -> MINED   the same row with its negatives and scores
shards -> MEDI    the published row: MINED with dataset name and instructions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

_TEXTS = pa.list_(pa.string())
_SCORES = pa.list_(pa.float32())
_NAME = pa.dictionary(pa.int32(), pa.string())

PAIRS = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),  # position in the source, from 0
        pa.field("query", pa.string(), nullable=False),
        pa.field("pos", pa.string(), nullable=False),
        pa.field("known_pos", _TEXTS, nullable=False),  # every text known to be right for the query
        pa.field("neg", _TEXTS, nullable=False),  # native negatives; empty = to be mined
        pa.field("negatives", pa.string()),  # "native", "mined" (Super-NI), or null = to be mined
    ]
)

DROPPED = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),  # at most 200 characters
    ]
)

MINED = pa.schema(
    [
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("pos", pa.string(), nullable=False),
        pa.field("neg", _TEXTS, nullable=False),
        pa.field("pos_score", pa.float32()),  # cosine, rounded to 1e-4
        pa.field("neg_score", _SCORES),
        pa.field("negatives", pa.string(), nullable=False),
    ]
)

MEDI = pa.schema(
    [
        pa.field("dataset", _NAME, nullable=False),
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("query_instruction", _NAME, nullable=False),
        pa.field("query", pa.string(), nullable=False),
        pa.field("doc_instruction", _NAME, nullable=False),
        pa.field("pos", pa.string(), nullable=False),
        pa.field("neg", _TEXTS, nullable=False),
        pa.field("pos_score", pa.float32()),
        pa.field("neg_score", _SCORES),
        pa.field("negatives", _NAME, nullable=False),
    ]
)


LEAKS = pa.schema(
    [
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("row_id", pa.int64(), nullable=False),
        pa.field("side", pa.string(), nullable=False),  # "query", "pos" or "neg"
        pa.field("position", pa.int32(), nullable=False),  # of a negative in its row, else 0
        pa.field("task", pa.string(), nullable=False),  # evaluation task that has the text
        pa.field("kind", pa.string(), nullable=False),  # "exact" or "ngram"
        pa.field("text", pa.string(), nullable=False),  # the words that both have
    ]
)


def to_released(row: Mapping[str, Any]) -> dict[str, Any]:
    """One MEDI row as the released file writes it: one negative, instruction beside each text."""
    return {
        "query": [row["query_instruction"], row["query"]],
        "pos": [row["doc_instruction"], row["pos"]],
        "neg": [row["doc_instruction"], row["neg"][0]],
        "task_name": row["dataset"],
    }


def from_released(
    released: Mapping[str, Any], row_id: int, negatives: Literal["native", "mined"]
) -> dict[str, Any]:
    """A released row as a MEDI row. That layout tells neither scores nor where its negative is
    from: scores are null, `negatives` is the caller's word."""
    return {
        "dataset": released["task_name"],
        "row_id": row_id,
        "query_instruction": released["query"][0],
        "query": released["query"][1],
        "doc_instruction": released["pos"][0],
        "pos": released["pos"][1],
        "neg": [released["neg"][1]],
        "pos_score": None,
        "neg_score": None,
        "negatives": negatives,
    }
