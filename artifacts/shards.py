"""Parquet in and out: the tables between stages, and the published shards of a dataset."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from artifacts.row import MEDI

VERSION = 1
_DICTIONARY = ["dataset", "query_instruction", "doc_instruction", "negatives"]


class ShardOptions(BaseModel):
    """Sizes are of the table in memory, in MiB."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    shard_mib: int = Field(default=1000, gt=0)
    row_group_mib: int = Field(default=100, gt=0)


def write_table(table: pa.Table, path: Path) -> None:
    """One stage's table. Same table, same bytes."""
    pq.write_table(table, path, compression="zstd")


def read_table(path: Path) -> pa.Table:
    return pq.read_table(path)


def medi_table(
    mined: pa.Table, dataset: str, query_instruction: str, doc_instruction: str
) -> pa.Table:
    """MINED rows with the dataset's name and instructions: the published schema MEDI."""
    columns = {name: mined.column(name) for name in mined.column_names}
    for name, value in [
        ("dataset", dataset),
        ("query_instruction", query_instruction),
        ("doc_instruction", doc_instruction),
    ]:
        codes = pa.array([0] * mined.num_rows, pa.int32())
        columns[name] = pa.DictionaryArray.from_arrays(codes, pa.array([value], pa.string()))
    columns["negatives"] = mined.column("negatives").combine_chunks().dictionary_encode()
    return pa.table([columns[name] for name in MEDI.names], schema=MEDI)


def write_shards(table: pa.Table, folder: Path, options: ShardOptions) -> int:
    """`train-00000-of-0000N.parquet` below `folder`; returns N.

    zstd, content-defined chunking (an edited row changes few pages), row groups of
    `row_group_mib`, the constant columns dictionary-encoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = max(1, math.ceil(table.nbytes / (options.shard_mib * 2**20)))
    rows = max(1, math.ceil(table.num_rows / shards))
    groups = max(1, math.ceil(table.nbytes / shards / (options.row_group_mib * 2**20)))
    for i in range(shards):
        pq.write_table(
            table.slice(i * rows, rows),
            folder / f"train-{i:05d}-of-{shards:05d}.parquet",
            compression="zstd",
            compression_level=3,
            use_dictionary=_DICTIONARY,
            use_content_defined_chunking=True,
            row_group_size=max(1, math.ceil(rows / groups)),
        )
    return shards
