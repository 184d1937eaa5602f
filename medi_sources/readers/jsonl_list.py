"""Lines that are lists of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medi_sources.readers.files import json_lines
from medi_sources.readers.items import Item, Row, RowError, text, wrong
from medi_sources.records import JsonlList


def read(reader: JsonlList, files: Sequence[Path]) -> Iterator[Row]:
    def to_item(value: Any, row_id: int) -> Item:
        if not isinstance(value, list):
            raise wrong("row", "a list of texts", value)
        return Item(
            row_id,
            query=_at(value, "query", reader.query),
            positives=(_at(value, "pos", reader.pos),),
            negatives=() if reader.neg is None else (_at(value, "neg", reader.neg),),
        )

    return json_lines(files, to_item)


def _at(value: list[Any], role: str, position: int) -> str:
    if position >= len(value):
        raise RowError("wrong_fields", f"{role}: no position {position} in a list of {len(value)}")
    return text(value[position], role)
