"""Named columns of Parquet, CSV, TSV or JSON files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.errors import DatasetError
from artifacts.unpacked import require_in_bounds
from medi_sources.readers.files import json_elements, line_values, opened
from medi_sources.readers.items import Item, Row, RowError, at, items, text, texts
from medi_sources.records import Columns

_LONGEST_CELL = 1 << 30  # bytes; Python's default of 128 KB refuses long articles
_FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".txt": "tsv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
}


def read(reader: Columns, files: Sequence[Path]) -> Iterator[Row]:
    """Cells of `pos` and `neg` may be lists of texts. Raises DatasetError for missing columns."""

    def to_item(value: Any, row_id: int) -> Item:
        _require_pair(value, reader.where or {})
        return Item(
            row_id,
            query=text(at(value, reader.query), reader.query),
            positives=texts(at(value, reader.pos), reader.pos),
            negatives=() if reader.neg is None else texts(at(value, reader.neg), reader.neg),
        )

    return items(chain.from_iterable(_rows(reader, path) for path in files), to_item)


def _rows(reader: Columns, path: Path) -> Iterator[Any]:
    match reader.format or _by_suffix(path):
        case "parquet":
            return _parquet(path, reader.columns)
        case "csv":
            return _delimited(reader, path, ",", quoted=reader.quoted is not False)
        case "tsv":
            # Most have no quoting, and a lone quote would swallow rows.
            return _delimited(reader, path, "\t", quoted=reader.quoted is True)
        case "json_list":
            return json_elements(path, "a JSON list of objects")
        case _:
            return line_values(path)


def _by_suffix(path: Path) -> str:
    suffix = Path(path.stem if path.suffix == ".gz" else path.name).suffix.lower()
    if suffix not in _FORMATS or (suffix == ".parquet" and path.suffix == ".gz"):
        known = ", ".join(_FORMATS)
        raise DatasetError(
            f"{path.name}: expected a name that ends in one of {known} (each but .parquet also "
            "with .gz), or the record to say the reader's format"
        )
    return _FORMATS[suffix]


def _require_pair(value: Any, where: Mapping[str, str]) -> None:
    for name, wanted in where.items():
        found = at(value, name)
        if (found if isinstance(found, str) else json.dumps(found, default=str)) != wanted:
            raise RowError("no_positive", f"{name} is {found!r}, not {wanted!r}")


def _require(path: Path, names: list[str], found: Sequence[str]) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        raise DatasetError(
            f"{path.name}: expected the columns {', '.join(names)}, found {', '.join(found)}"
        )


def _delimited(reader: Columns, path: Path, mark: str, *, quoted: bool) -> Iterator[Any]:
    csv.field_size_limit(_LONGEST_CELL)
    quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    with opened(path) as file:
        lines = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        # A blank before a quote would make the quote part of the cell, and its commas cell ends.
        records = csv.reader(lines, delimiter=mark, quoting=quoting, skipinitialspace=quoted)
        header = list(reader.header or (name.strip() for name in next(records, [])))
        _require(path, reader.columns, header)
        at_column = {name: header.index(name) for name in reader.columns}
        for record in records:
            # Trailing empty cells may be left off; a row that stops before our columns is broken.
            if max(at_column.values()) < len(record) <= len(header):
                yield {name: record[i] for name, i in at_column.items()}
            elif record:
                found = f"{len(record)} cells under a header of {len(header)}"
                yield RowError("wrong_fields", found)


def _parquet(path: Path, names: list[str]) -> Iterator[Any]:
    try:
        file = pq.ParquetFile(path)
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        size = path.stat().st_size
        require_in_bounds(path.name, size, sum(group.total_byte_size for group in groups))
        found = file.schema_arrow.names
        columns = [name if name in found else name.partition(".")[0] for name in names]
        _require(path, columns, found)
        for batch in file.iter_batches(batch_size=1000, columns=sorted(set(columns))):
            yield from _batch_rows(batch)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path.name}: expected a Parquet file, found {error}") from error


def _batch_rows(batch: pa.RecordBatch) -> list[Any]:
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [RowError("invalid_utf8", str(error))]
    return [row for i in range(batch.num_rows) for row in _batch_rows(batch.slice(i, 1))]
