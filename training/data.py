"""Reads a published MEDI folder: `data/<dataset>/train-NNNNN-of-NNNNN.parquet`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.errors import InputError

_SHARD = re.compile(r"train-(\d{5})-of-(\d{5})\.parquet")
_TEXT = pa.string()
# What training reads of artifacts.row.MEDI; its dictionary columns come back as plain text.
_READ = pa.schema(
    [
        pa.field("row_id", pa.int64()),
        pa.field("query_instruction", _TEXT),
        pa.field("query", _TEXT),
        pa.field("doc_instruction", _TEXT),
        pa.field("pos", _TEXT),
        pa.field("neg", pa.list_(_TEXT)),
    ]
)


def load_rows(medi: Path, negatives: int = 1) -> dict[str, pa.Table]:
    """Dataset name -> its rows (row_id, instructions, query, pos, neg), names in order.

    Raises InputError where the folder is none of MEDI's, a shard is missing or unreadable, a
    column is missing or holds nulls, or a row has fewer than `negatives` negatives.
    """
    rows = {folder.name: _dataset(folder, negatives) for folder in dataset_folders(medi)}
    if not any(table.num_rows for table in rows.values()):
        raise InputError(f"{medi} has no rows in any of its {len(rows)} datasets")
    return rows


def dataset_folders(medi: Path) -> list[Path]:
    """The folders of the datasets, by name; InputError where there is none."""
    folders = sorted(folder for folder in (medi / "data").glob("*") if folder.is_dir())
    if not folders:
        raise InputError(
            f"{medi} is no MEDI folder: it has no data/<dataset>/train-*-of-*.parquet; "
            "name a folder that `medi build --publish` wrote"
        )
    return folders


def manifest_key(medi: Path) -> str | None:
    """The build's key in the folder's manifest.json; None where it has no manifest."""
    path = medi / "manifest.json"
    if not path.is_file():
        return None
    key = json.loads(path.read_text(encoding="utf-8")).get("build", {}).get("key")
    return str(key) if key is not None else None


def _dataset(folder: Path, negatives: int) -> pa.Table:
    table = pa.concat_tables([_shard(path) for path in _shards(folder)])
    short = pc.less(pc.list_value_length(table["neg"]), negatives)
    if pc.any(short).as_py():
        row = table.filter(short).slice(0, 1).to_pylist()[0]
        raise InputError(
            f"{folder}, row_id {row['row_id']}: {len(row['neg'])} negatives where training "
            f"uses {negatives}; set negatives to what every row has, or mine more"
        )
    return table


def _shards(folder: Path) -> list[Path]:
    """The dataset's files in order. A folder copied by half must not pass for a smaller one."""
    found = {path.name: path for path in folder.glob("*.parquet")}
    totals = {match[2] for name in found if (match := _SHARD.fullmatch(name))}
    if len(totals) != 1:
        raise InputError(
            f"{folder} holds {sorted(found) or 'no Parquet files'}; "
            "valid are train-NNNNN-of-NNNNN.parquet, all of one total"
        )
    total = totals.pop()
    names = [f"train-{number:05d}-of-{total}.parquet" for number in range(int(total))]
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{folder} lacks {missing[0]}: copy the folder again, or build it again")
    return [found[name] for name in names]


def _shard(path: Path) -> pa.Table:
    try:
        names = pq.read_schema(path).names
        missing = [name for name in _READ.names if name not in names]
        if missing:
            raise InputError(f"{path} has no column {missing[0]!r}; MEDI rows have {_READ.names}")
        table = pq.read_table(path, columns=_READ.names).select(_READ.names).cast(_READ)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read as MEDI rows: {reason}") from error
    for name in _READ.names:
        if table[name].null_count:
            raise InputError(f"{path}, column {name!r}: {table[name].null_count} nulls; none valid")
    return table
