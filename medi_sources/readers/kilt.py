"""KILT lines: the input and the titles of the pages that its answers rest on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medi_sources.readers.files import json_lines
from medi_sources.readers.items import Item, Row, field, objects, text


def read(files: Sequence[Path]) -> Iterator[Row]:
    return json_lines(files, _to_item)


def _to_item(value: Any, row_id: int) -> Item:
    query = text(field(value, "input"), "input")
    return Item(row_id, query, positives=tuple(dict.fromkeys(_titles(value))))


def _titles(value: dict[str, Any]) -> Iterator[str]:
    # Test files have no output, and an answer need not have a page.
    for output in objects(value.get("output") or [], "output"):
        if isinstance(output, dict):
            for page in objects(output.get("provenance") or [], "provenance"):
                yield text(field(page, "title"), "title")
