"""Lines `{"set": [...]}` or bare lists: texts that all mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medi_sources.readers.files import json_lines
from medi_sources.readers.items import Item, Row, RowError, field, texts


def read(files: Sequence[Path]) -> Iterator[Row]:
    return json_lines(files, _to_item)


def _to_item(value: Any, row_id: int) -> Item:
    members = texts(value if isinstance(value, list) else field(value, "set"), "set")
    if not members:
        raise RowError("wrong_fields", "set: empty")
    return Item(row_id, query=members[0], positives=members[1:], is_set=True)
