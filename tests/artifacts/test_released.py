"""The released layout: what users of the old files feed to their own trainers."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import InputError
from artifacts.released import export_json
from artifacts.row import MEDI, MINED, from_released, to_released
from artifacts.shards import ShardOptions, medi_table, write_shards

RELEASED = st.fixed_dictionaries(
    {
        "query": st.tuples(st.text(), st.text()).map(list),
        "task_name": st.text(min_size=1),
        "document": st.tuples(st.text(), st.text(), st.text()),
    }
).map(
    lambda d: {
        "query": d["query"],
        "pos": [d["document"][0], d["document"][1]],
        "neg": [d["document"][0], d["document"][2]],
        "task_name": d["task_name"],
    }
)


@given(RELEASED)
def test_released_row_comes_back_unchanged(released: dict[str, object]) -> None:
    assert to_released(from_released(released, 0, "native")) == released


def mined(rows: int) -> pa.Table:
    return pa.table(
        {
            "row_id": list(range(rows)),
            "query": [f"query {i} – ü" for i in range(rows)],
            "pos": [f"answer {i}" for i in range(rows)],
            "neg": [[f"wrong {i}", "also wrong"] for i in range(rows)],
            "pos_score": [0.5] * rows,
            "neg_score": [[0.25, 0.125]] * rows,
            "negatives": ["mined"] * rows,
        },
        schema=MINED,
    )


def test_medi_row_survives_but_for_what_the_layout_cannot_hold() -> None:
    table = medi_table(mined(3), "toy", "Represent the query: ", "Represent the document: ")
    assert table.schema == MEDI
    row = table.to_pylist()[1]
    back = from_released(to_released(row), row["row_id"], "mined")
    lost = {"neg": ["wrong 1"], "pos_score": None, "neg_score": None}
    assert back == row | lost


def test_export_writes_every_row_of_every_shard(tmp_path: Path) -> None:
    medi = tmp_path / "medi"
    table = medi_table(mined(2500), "toy", "Represent the query: ", "Represent the document: ")
    write_shards(table, medi / "data" / "toy", ShardOptions())
    (medi / "manifest.json").write_text('{"datasets": {}}')
    assert export_json(medi, tmp_path / "medi.json") == 2500
    rows = json.loads((tmp_path / "medi.json").read_text(encoding="utf-8"))
    assert rows == [to_released(row) for row in table.to_pylist()]


def test_export_of_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no manifest\.json"):
        export_json(tmp_path, tmp_path / "out.json")
