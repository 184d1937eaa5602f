"""SQuAD v1.1 (and v2) JSON: each question and the paragraph it was asked of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from artifacts.errors import DatasetError
from medi_sources.readers.files import json_file
from medi_sources.readers.items import Item, Row, RowError, field, items, objects, text

_EXPECTED = 'SQuAD JSON {"data": [{"paragraphs": [{"context", "qas"}]}]}'


def read(files: Sequence[Path]) -> Iterator[Row]:
    return items(chain.from_iterable(_questions(path) for path in files), _to_item)


def _questions(path: Path) -> Iterator[Any]:
    """(context, question) of each question; an article or paragraph without one is one error."""
    content = json_file(path, _EXPECTED)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        found = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DatasetError(f"{path.name}: expected {_EXPECTED}, found {found}")
    for article in content["data"]:
        yield from _of(article, "paragraphs", _asked)


def _asked(paragraph: Any) -> Iterator[Any]:
    yield from _of(paragraph, "qas", lambda qa: iter([(paragraph, qa)]))


def _of(value: Any, name: str, inner: Any) -> Iterator[Any]:
    try:
        members = objects(field(value, name), name)
    except RowError as error:
        yield error
        return
    for member in members:
        yield from inner(member)


def _to_item(value: tuple[Any, Any], row_id: int) -> Item:
    paragraph, qa = value
    question = text(field(qa, "question"), "question")
    if qa.get("is_impossible") is True:
        raise RowError("no_positive", "a question that its paragraph does not answer")
    return Item(row_id, question, positives=(text(field(paragraph, "context"), "context"),))
