"""The whole room with a real encoder on real questions."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pytest

from artifacts.row import PAIRS
from artifacts.text import normalise
from mining.choose import score_bound
from mining.encode import load_encoder
from mining.mine import mine
from mining.options import EncoderOptions, MiningOptions

_DEFAULT = Path(__file__).resolve().parents[2].parent / "shared" / "data"
_DATA = Path(os.environ.get("MEDI_REAL_DATA", _DEFAULT))
_MODEL = _DATA.parent / "models" / "all-MiniLM-L6-v2-fp16"
_XQUAD = _DATA / "train" / "squad_xquad" / "xquad.en.json"


def _questions(count: int) -> pa.Table:
    articles = json.loads(_XQUAD.read_text(encoding="utf-8"))["data"]
    pairs = [
        (qa["question"], paragraph["context"])
        for article in articles
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    ]
    spread = pairs[:: len(pairs) // count][:count]
    rows = [
        {"row_id": i, "query": query, "pos": pos, "known_pos": [pos], "neg": [], "negatives": None}
        for i, (query, pos) in enumerate(spread)
    ]
    return pa.Table.from_pylist(rows, schema=PAIRS)


@pytest.mark.real
@pytest.mark.skipif(not _XQUAD.is_file(), reason=f"MEDI_REAL_DATA: no {_XQUAD}")
@pytest.mark.skipif(not _MODEL.is_dir(), reason=f"MEDI_REAL_DATA: no model {_MODEL}")
def test_real_questions_get_hard_but_wrong_paragraphs() -> None:
    pairs = _questions(100)
    encode = load_encoder(_MODEL, EncoderOptions(max_tokens=128, device="cpu"))
    result = mine(pairs, False, encode, MiningOptions(negatives=2, device="cpu"))
    right = {normalise(row["query"]): normalise(row["pos"]) for row in pairs.to_pylist()}
    rows = result.table.to_pylist()
    assert len(rows) > 80
    for row in rows:
        assert right[normalise(row["query"])] not in {normalise(text) for text in row["neg"]}
        bound = score_bound(round(row["pos_score"], 4), 0.95)
        assert all(round(score, 4) < bound for score in row["neg_score"])
    assert result.counts["pos_score"]["mean"] > result.counts["neg_score"]["mean"] > 0.1
