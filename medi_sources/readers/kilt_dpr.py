"""KILT-DPR dumps: a JSON list of questions with positive and hard negative passages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from medi_sources.readers.files import json_elements
from medi_sources.readers.items import Item, Row, field, items, objects, text

_EXPECTED = "a JSON list of {question, positive_ctxs, hard_negative_ctxs}"


def read(files: Sequence[Path]) -> Iterator[Row]:
    return items(chain.from_iterable(json_elements(path, _EXPECTED) for path in files), _to_item)


def _to_item(value: Any, row_id: int) -> Item:
    return Item(
        row_id,
        query=text(field(value, "question"), "question"),
        positives=_passages(field(value, "positive_ctxs"), "positive_ctxs"),
        negatives=_passages(value.get("hard_negative_ctxs") or [], "hard_negative_ctxs"),
    )


def _passages(value: Any, name: str) -> tuple[str, ...]:
    return tuple(_passage(each) for each in objects(value, name))


def _passage(context: Any) -> str:
    body = text(field(context, "text"), "text").strip()
    return f"{text(context.get('title') or '', 'title').strip()} {body}".strip()
