"""Whatever is dropped has a reason that is explained, a count and a row to be read."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.encoder import Vectors
from medi_sources.clean import BAD_REASONS, REASONS, CleaningOptions
from medi_sources.pairs import PairsOptions, build_pairs
from tests.source_files import source

_ROOM = Path(__file__).parents[2] / "medi_sources"
LOOSE = CleaningOptions(max_drop_share=1, max_chars=100, boilerplate_queries=3, near_duplicates=0.9)
GOOD = ["who wades in the water", "a heron"]
# reason -> what the second row of a source must be to be dropped for it, and the detail
SECOND: dict[str, tuple[Any, str]] = {
    "malformed": (None, "not JSON: "),
    "wrong_fields": (["one text"], "pos: no position 1 in a list of 1"),
    "invalid_utf8": (["q \ud83d", "answer"], "query: 3 characters, 'q \\ud83d'"),
    "nul_byte": (["query", "a\0b"], "positive: 3 characters, 'a\\x00b'"),
    "empty": (["query", "  "], "positive: 0 characters, ''"),
    "too_short": (["q", "answer"], "query: 1 characters, 'q'"),
    "too_long": (["query", "x" * 101], f"positive: 101 characters, '{'x' * 60}'"),
    "non_text": (["query", "!?..."], "positive: 5 characters, '!?...'"),
    "query_is_positive": (["A heron", "a  HERON"], "query: 7 characters, 'A heron'"),
    "duplicate": (["Who wades in the water", "A Heron"], "row 0"),
    "joined": (["who wades  in the water", "an egret"], "row 0"),
    "near_duplicate": (["who wades in the water?", "a heron"], "row 0"),
}


def dropped(folder: Path, layout: str, lines: list[str], **options: Any) -> list[dict[str, Any]]:
    """The dropped rows; each reason must be counted."""
    path = folder / "rows.jsonl"
    path.write_text("\n".join(lines))
    result = build_pairs(source(layout), [path], PairsOptions(**options), _alike)
    rows: list[dict[str, Any]] = result.dropped.to_pylist()
    met = [row["reason"] for row in rows]
    assert result.counts["dropped"] == {reason: met.count(reason) for reason in sorted(set(met))}
    return rows


def _alike(texts: Any) -> Vectors:
    return np.ones((len(texts), 1), dtype=np.float32)


@pytest.mark.parametrize("reason", SECOND)
def test_the_row_is_there_with_reason_and_detail(tmp_path: Path, reason: str) -> None:
    value, detail = SECOND[reason]
    second = "{" if value is None else json.dumps(value)
    rows = dropped(tmp_path, "jsonl_list", [json.dumps(GOOD), second], cleaning=LOOSE)
    assert [(row["row_id"], row["reason"]) for row in rows] == [(1, reason)]
    assert rows[0]["detail"].startswith(detail)


def test_the_reasons_of_a_whole_source_are_there_too(tmp_path: Path) -> None:
    none = [json.dumps({"query": "who", "pos": pos}) for pos in (["a heron"], [])]
    assert [
        r["reason"] for r in dropped(tmp_path, "jsonl_query_pos_neg", none, cleaning=LOOSE)
    ] == ["no_positive"]
    same = [json.dumps([f"{word} wades", "it depends"]) for word in ("who", "what", "which")]
    rows = dropped(tmp_path, "jsonl_list", [json.dumps(GOOD), *same], cleaning=LOOSE)
    assert [row["reason"] for row in rows] == ["boilerplate"] * 3
    many = [json.dumps([f"query {i}", f"answer {i}"]) for i in range(3)]
    rows = dropped(tmp_path, "jsonl_list", many, cap=2)
    assert [row["reason"] for row in rows] == ["over_cap"]
    instances = [{"input": f"in {i}", "output": ["b" if i == 9 else "a"]} for i in range(10)]
    task = [json.dumps({"Definition": "d", "Instances": instances})]
    rows = dropped(tmp_path, "superni", task)
    assert [(row["row_id"], row["reason"]) for row in rows] == [(9, "no_partner")]
    assert rows[0]["detail"] == "no positive: no other instance has its label"


def test_every_reason_is_explained_and_met_above() -> None:
    whole = {"no_positive", "boilerplate", "over_cap", "no_partner"}
    assert set(SECOND) | whole == set(REASONS)
    assert set(REASONS) >= BAD_REASONS


def test_no_reader_gives_a_reason_that_nobody_explains() -> None:
    """DroppedRows would stop on it in the middle of a build."""
    given = set()
    for path in _ROOM.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                at = {"RowError": 0, "Dropped": 1}.get(node.func.id)
                reason = None if at is None else node.args[at]
                if isinstance(reason, ast.Constant):
                    given.add(reason.value)
    assert "malformed" in given and "over_cap" in given
    assert given <= set(REASONS)
