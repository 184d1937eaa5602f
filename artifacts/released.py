"""The layout that MEDI was released in: one JSON list of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from artifacts.publish import require_medi
from artifacts.row import to_released

_COLUMNS = ["dataset", "query_instruction", "query", "doc_instruction", "pos", "neg"]
_BATCH = 1000


def export_json(medi: Path, out: Path) -> int:
    """Write the MEDI folder `medi` to `out`, row for row, datasets by name; returns the rows.

    A row's first negative is the released row's only one. Raises InputError for a folder that is
    no MEDI build.
    """
    require_medi(medi)
    partial = out.with_name(f".{out.name}.partial")
    rows = 0
    with partial.open("w", encoding="utf-8") as file:
        file.write("[")
        for row in medi_rows(medi):
            file.write(",\n" if rows else "\n")
            file.write(json.dumps(to_released(row), ensure_ascii=False))
            rows += 1
        file.write("\n]\n")
    partial.replace(out)
    return rows


def medi_rows(medi: Path) -> Iterator[dict[str, Any]]:
    """The rows of a MEDI folder, datasets by name, in the order of their shards."""
    for shard in sorted((medi / "data").glob("*/train-*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(_BATCH, columns=_COLUMNS):
            yield from batch.to_pylist()
