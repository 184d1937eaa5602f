"""PubMedQA: a JSON object pmid -> {QUESTION, CONTEXTS}: the question and its abstract."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from artifacts.errors import DatasetError
from medi_sources.readers.files import json_file
from medi_sources.readers.items import Item, Row, field, items, text, texts

_EXPECTED = "a JSON object pmid -> {QUESTION, CONTEXTS}"


def read(files: Sequence[Path]) -> Iterator[Row]:
    return items(chain.from_iterable(_articles(path) for path in files), _to_item)


def _articles(path: Path) -> Iterator[Any]:
    articles = json_file(path, _EXPECTED)
    if not isinstance(articles, dict):
        raise DatasetError(f"{path.name}: expected {_EXPECTED}, found a {type(articles).__name__}")
    yield from articles.values()


def _to_item(value: Any, row_id: int) -> Item:
    contexts = texts(field(value, "CONTEXTS"), "CONTEXTS")
    question = text(field(value, "QUESTION"), "QUESTION")
    return Item(row_id, question, positives=(" ".join(contexts),) if contexts else ())
