"""Reads a published MEDI folder: `data/<dataset>/train-NNNNN-of-NNNNN.parquet`, manifest.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.errors import InputError
from artifacts.keys import sha256_file

FORMAT = 1  # of the folder, as artifacts.publish writes it
BATCH_ROWS = 1024
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


def datasets_of(medi: Path) -> list[str]:
    """The datasets of the folder, by name.

    Raises InputError where the folder is none of MEDI's, is of a format that this version cannot
    read, or lacks a dataset that its manifest.json lists.
    """
    names = sorted(folder.name for folder in (medi / "data").glob("*") if folder.is_dir())
    listed = _manifest(medi).get("datasets", {})
    missing = [name for name in listed if listed[name].get("files") and name not in names]
    if missing:
        raise InputError(
            f"{medi} lacks data/{missing[0]}, which its manifest.json lists: "
            "copy the folder again, or build it again"
        )
    if not names:
        raise InputError(
            f"{medi} is no MEDI folder: it has no data/<dataset>/train-*-of-*.parquet; "
            "name a folder that `medi build --publish` wrote"
        )
    return names


def manifest_key(medi: Path) -> str | None:
    """The build's key in the folder's manifest.json; None where it has no manifest."""
    key = _manifest(medi).get("build", {}).get("key")
    return str(key) if key is not None else None


def in_batch_negatives(medi: Path, dataset: str) -> bool:
    """Whether texts of the dataset's other rows are negatives, as manifest.json says; else yes."""
    return bool(_entry(medi, dataset).get("in_batch_negatives", True))


def shard_hashes(medi: Path, dataset: str) -> dict[str, str]:
    """Name of each shard -> sha256: what manifest.json says, hashed where it says nothing."""
    listed = _listed(medi, dataset)
    return {
        path.name: listed[path.name] if path.name in listed else sha256_file(path)
        for path in _shards(medi, dataset)
    }


def load_rows(medi: Path, dataset: str, negatives: int = 1) -> pa.Table:
    """All rows of one dataset: row_id, instructions, query, pos, neg. Raises as `row_batches`."""
    return pa.Table.from_batches(row_batches(medi, dataset, negatives), schema=_READ)


def row_batches(medi: Path, dataset: str, negatives: int) -> Iterator[pa.RecordBatch]:
    """The rows of one dataset in order, a thousand at a time, columns as `load_rows`.

    Raises InputError where a shard is missing, unreadable or not the one that was published, a
    column is missing or holds nulls, or a row has fewer than `negatives` negatives.
    """
    listed = _listed(medi, dataset)
    for path in _shards(medi, dataset):
        if path.name in listed and sha256_file(path) != listed[path.name]:
            raise InputError(
                f"{path} is not the file that {medi / 'manifest.json'} lists (its sha256 differs): "
                "copy the folder again, or build it again"
            )
        yield from _checked(path, negatives)


def _manifest(medi: Path) -> Mapping[str, Any]:
    """manifest.json; nothing where the folder has none."""
    path = medi.absolute() / "manifest.json"
    if not path.is_file():
        return {}
    stat = path.stat()
    return _read_manifest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _read_manifest(path: Path, size: int, modified_ns: int) -> Mapping[str, Any]:
    """Asked for with each of 330 datasets; read again only where the file has changed."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is no JSON: copy the folder again, or build it again") from error
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise InputError(
            f"{path}: format {found!r}, and this version of medi reads {FORMAT}; "
            "build the folder again with it"
        )
    return manifest


def _entry(medi: Path, dataset: str) -> Mapping[str, Any]:
    entry: Mapping[str, Any] = _manifest(medi).get("datasets", {}).get(dataset, {})
    return entry


def _listed(medi: Path, dataset: str) -> dict[str, str]:
    """Name of each shard -> sha256, as manifest.json has it."""
    files = _entry(medi, dataset).get("files", {})
    return {Path(name).name: str(file["sha256"]) for name, file in files.items()}


def _shards(medi: Path, dataset: str) -> list[Path]:
    """The dataset's files in order. A folder copied by half must not pass for a smaller one."""
    folder = medi / "data" / dataset
    found = {path.name: path for path in folder.glob("*.parquet")}
    totals = {match[2] for name in found if (match := _SHARD.fullmatch(name))}
    if len(totals) != 1:
        raise InputError(
            f"{folder} holds {sorted(found) or 'no Parquet files'}; "
            "valid are train-NNNNN-of-NNNNN.parquet, all of one total"
        )
    total = totals.pop()
    whole = {f"train-{number:05d}-of-{total}.parquet" for number in range(int(total))}
    names = sorted(whole | set(_listed(medi, dataset)))
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{folder} lacks {missing[0]}: copy the folder again, or build it again")
    return [found[name] for name in names]


def _checked(path: Path, negatives: int) -> Iterator[pa.RecordBatch]:
    for batch in _read(path):
        for name in _READ.names:
            column = batch[name]
            nulls = column.null_count
            if pa.types.is_list(column.type):
                nulls += pc.list_flatten(column).null_count
            if nulls:
                raise InputError(f"{path}, column {name!r}: {nulls} nulls; none valid")
        short = pc.less(pc.list_value_length(batch["neg"]), negatives)
        if pc.any(short).as_py():
            row = batch.filter(short).slice(0, 1).to_pylist()[0]
            raise InputError(
                f"{path.parent}, row_id {row['row_id']}: {len(row['neg'])} negatives where "
                f"training uses {negatives}; set negatives to what every row has, or mine more"
            )
        yield batch


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in _READ.names if name not in file.schema_arrow.names]
            if missing:
                raise InputError(f"{path} has no column {missing[0]!r}; valid are {_READ.names}")
            for batch in file.iter_batches(BATCH_ROWS, columns=_READ.names):
                yield batch.select(_READ.names).cast(_READ)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read as MEDI rows: {reason}") from error
