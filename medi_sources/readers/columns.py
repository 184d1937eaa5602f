"""Named columns of Parquet, CSV, TSV or JSON-lines files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import DatasetError
from medi_sources.readers.files import json_lines, opened
from medi_sources.readers.items import Item, Row, RowError, field, items, text, texts
from medi_sources.records import Columns

_LONGEST_CELL = 1 << 30  # bytes; Python's default of 128 KB refuses long articles
_SUFFIXES = ".parquet, .csv, .tsv, .txt, .jsonl, .json (each but .parquet also with .gz)"


def read(reader: Columns, files: Sequence[Path]) -> Iterator[Row]:
    """Cells of `pos` and `neg` may be lists of texts. Raises DatasetError for missing columns.

    A TSV is read without quoting: most have none, and a lone quote would swallow rows.
    """

    def to_item(value: Any, row_id: int) -> Item:
        return Item(
            row_id,
            query=text(field(value, reader.query), reader.query),
            positives=texts(field(value, reader.pos), reader.pos),
            negatives=() if reader.neg is None else texts(field(value, reader.neg), reader.neg),
        )

    if all(_suffix(path) in (".jsonl", ".json") for path in files):
        return json_lines(files, to_item)
    names = [name for name in (reader.query, reader.pos, reader.neg) if name is not None]
    return items(chain.from_iterable(_rows(path, names) for path in files), to_item)


def _suffix(path: Path) -> str:
    return Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()


def _rows(path: Path, names: list[str]) -> Iterator[Any]:
    if path.suffix == ".parquet":
        return _parquet(path, names)
    if _suffix(path) == ".csv":
        return _delimited(path, names, delimiter=",", quoting=csv.QUOTE_MINIMAL)
    if _suffix(path) in (".tsv", ".txt"):
        return _delimited(path, names, delimiter="\t", quoting=csv.QUOTE_NONE)
    raise DatasetError(f"{path.name}: expected files of one kind that end in one of {_SUFFIXES}")


def _require(path: Path, names: list[str], found: Sequence[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise DatasetError(
            f"{path.name}: expected the columns {', '.join(names)}, found {', '.join(found)}"
        )


def _delimited(
    path: Path, names: list[str], delimiter: str, quoting: Literal[0, 3]
) -> Iterator[Any]:
    csv.field_size_limit(_LONGEST_CELL)
    with opened(path) as file:
        lines = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        records = csv.reader(lines, delimiter=delimiter, quoting=quoting)
        header = [name.strip() for name in next(records, [])]
        _require(path, names, header)
        at = {name: header.index(name) for name in names}
        for record in records:
            # Trailing empty cells may be left off; a row that stops before our columns is broken.
            if max(at.values()) < len(record) <= len(header):
                yield {name: record[i] for name, i in at.items()}
            elif record:
                found = f"{len(record)} cells under a header of {len(header)}"
                yield RowError("wrong_fields", found)


def _parquet(path: Path, names: list[str]) -> Iterator[Any]:
    try:
        file = pq.ParquetFile(path)
        _require(path, names, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=1000, columns=names):
            yield from _batch_rows(batch)
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{path.name}: expected a Parquet file, found {error}") from error


def _batch_rows(batch: pa.RecordBatch) -> list[Any]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [RowError("invalid_utf8", str(error))]
    return [row for i in range(batch.num_rows) for row in _batch_rows(batch.slice(i, 1))]
