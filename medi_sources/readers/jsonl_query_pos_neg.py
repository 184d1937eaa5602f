"""Lines `{"query": str, "pos": [str], "neg": [str]}`; `neg` may be absent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medi_sources.readers.files import json_lines
from medi_sources.readers.items import Item, Row, field, text, texts
from medi_sources.records import JsonlQueryPosNeg


def read(reader: JsonlQueryPosNeg, files: Sequence[Path]) -> Iterator[Row]:
    def to_item(value: Any, row_id: int) -> Item:
        return Item(
            row_id,
            query=text(field(value, reader.query), reader.query),
            positives=texts(field(value, reader.pos), reader.pos),
            negatives=texts(value.get(reader.neg), reader.neg),
        )

    return json_lines(files, to_item)
