"""Several text files whose line i belongs together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from artifacts.errors import DatasetError
from medi_sources.readers.files import decoded, raw_lines
from medi_sources.readers.items import Item, Row, items
from medi_sources.records import ParallelLines


def read(reader: ParallelLines, files: Sequence[Path]) -> Iterator[Row]:
    """Raises DatasetError where one file goes on after another has ended: nothing is aligned."""

    def to_item(value: Any, row_id: int) -> Item:
        query, *others = (decoded(line) for line in value)
        return Item(row_id, query, positives=tuple(others), is_set=not reader.ordered)

    return items(_aligned(files), to_item)


def _aligned(files: Sequence[Path]) -> Iterator[tuple[bytes, ...]]:
    blank = 0  # rows blank in every file: no rows if nothing follows
    for number, lines in enumerate(zip_longest(*(raw_lines(path) for path in files))):
        if not any(line and line.strip() for line in lines):
            blank += 1
            continue
        if None in lines:
            short, long = lines.index(None), next(i for i, line in enumerate(lines) if line)
            raise DatasetError(
                f"{files[short].name} ends before line {number + 1} and {files[long].name} does "
                "not: expected as many lines in each file"
            )
        yield from [(b"",) * len(files)] * blank
        blank = 0
        yield lines
