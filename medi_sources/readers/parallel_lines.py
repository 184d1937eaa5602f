"""Several text files whose line i says the same in each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from artifacts.errors import DatasetError
from medi_sources.readers.files import decoded, raw_lines
from medi_sources.readers.items import Item, Row, items


def read(files: Sequence[Path]) -> Iterator[Row]:
    """Raises DatasetError where one file goes on after another has ended: nothing is aligned."""
    return items(_aligned(files), _to_item)


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


def _to_item(value: Any, row_id: int) -> Item:
    members = [decoded(line) for line in value]
    return Item(row_id, query=members[0], positives=tuple(members[1:]), is_set=True)
