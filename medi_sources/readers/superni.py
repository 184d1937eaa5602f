"""Super-NaturalInstructions task files, v2 or the early-2021 schema (no ids, one definition)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from artifacts.errors import DatasetError
from medi_sources.readers.files import json_file
from medi_sources.readers.items import Item, Row, RowError, field, items, text, texts

_EXPECTED = 'a Super-NI task {"Definition", "Instances": [{"input", "output"}]}'


def read(files: Sequence[Path]) -> Iterator[Row]:
    return items(chain.from_iterable(_task(path)["Instances"] for path in files), _to_item)


def superni_definition(path: Path) -> str:
    """The task's definition as one text. Raises DatasetError where there is none."""
    try:
        parts = texts(_task(path).get("Definition"), "Definition")
    except RowError as error:
        raise DatasetError(f"{path.name}: {error.detail}") from error
    definition = " ".join(part.strip() for part in parts)
    if not definition:
        raise DatasetError(f"{path.name}: expected {_EXPECTED}, found an empty Definition")
    return definition


def _task(path: Path) -> dict[str, Any]:
    task = json_file(path, _EXPECTED)
    if not isinstance(task, dict) or not isinstance(task.get("Instances"), list):
        found = ", ".join(task) if isinstance(task, dict) else type(task).__name__
        raise DatasetError(f"{path.name}: expected {_EXPECTED}, found {found}")
    return task


def _to_item(value: Any, row_id: int) -> Item:
    outputs = texts(field(value, "output"), "output")
    if not outputs:
        raise RowError("wrong_fields", "output: empty")
    # Several outputs are all right for the input: together they are its output.
    output = "\n".join(dict.fromkeys(each.strip() for each in outputs))
    return Item(row_id, query=text(field(value, "input"), "input"), output=output)
