"""Reading prompt retrieval's files: from upstream rows to examples, to choose from and to answer.

All raise DatasetError, naming file and row (from 1), for what is not of its layout or format.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from artifacts.errors import DatasetError
from evaluation.prompts import Example, PromptFormat, PromptOptions

PromptLayout = Literal["prompt_json", "prompt_jsonl", "prompt_csv"]
_Rows = Iterator[tuple[int, Any]]


def read_examples(path: Path, layout: PromptLayout, form: PromptFormat) -> list[Example]:
    """Every row of the file as an example, in its order."""
    try:
        return [_example(path, number, row, form) for number, row in _READERS[layout](path, form)]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path.name}: not utf-8 ({error.reason})") from error


def load_examples(
    files: Sequence[Path], layout: PromptLayout, form: PromptFormat, options: PromptOptions
) -> tuple[list[Example], list[Example]]:
    """(train, test): at most `options.train_rows` and `options.test_rows` examples.

    `files` are two, train and test, or a single one that is split here. Of more rows than are
    wanted those are taken whose texts come first by SHA-256: the choice depends on the texts
    alone. In a single file, a row that asks the same as an earlier one is left out, so that no
    question stands on both sides.
    """
    if len(files) not in (1, 2):
        raise DatasetError(f"{len(files)} files instead of two (train, test) or one to be split")
    if len(files) == 2:
        train, test = (read_examples(path, layout, form) for path in files)
        test = _first(test, options.test_rows)
    else:
        rows: dict[str, Example] = {}
        for row in read_examples(files[0], layout, form):
            rows.setdefault(row.input, row)
        test = _first(list(rows.values()), options.test_rows)
        asked = {row.input for row in test}
        train = [row for row in rows.values() if row.input not in asked]
    names = ", ".join(path.name for path in files)
    if not train or len(test) < 2:
        raise DatasetError(
            f"{names}: {len(train)} rows to choose examples from and {len(test)} to answer, where "
            "1 and 2 are the least"
        )
    return _first(train, options.train_rows), test


def _first(rows: Sequence[Example], count: int) -> list[Example]:
    """`count` rows by the order of their hashes, in the order of `rows`."""
    if len(rows) <= count:
        return list(rows)

    def digest(i: int) -> str:
        return hashlib.sha256(f"{rows[i].input}\n{rows[i].answer}".encode()).hexdigest()

    return [rows[i] for i in sorted(sorted(range(len(rows)), key=digest)[:count])]


def _example(path: Path, number: int, row: Any, form: PromptFormat) -> Example:
    if not isinstance(row, dict):
        raise _bad(path, number, f"a {type(row).__name__}, not an object with columns")
    try:
        return form.example(row)
    except ValueError as error:
        raise _bad(path, number, str(error)) from error


def _json(path: Path, form: PromptFormat) -> _Rows:
    """One list of objects, or an object that has it under the format's `rows`."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DatasetError(f"{path.name}: not JSON ({error})") from error
    if form.rows is not None:
        rows = rows.get(form.rows) if isinstance(rows, dict) else None
    if not isinstance(rows, list):
        where = "" if form.rows is None else f" under {form.rows!r}"
        raise DatasetError(f"{path.name}: no list of rows{where}")
    yield from enumerate(rows, start=1)


def _json_lines(path: Path, form: PromptFormat) -> _Rows:
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except json.JSONDecodeError as error:
                raise _bad(path, number, f"not JSON ({error})") from error


def _csv(path: Path, form: PromptFormat) -> _Rows:
    """The first line names the columns; it is no row."""
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), start=1):
            if None in row or None in row.values():
                raise _bad(path, number, "not as many cells as the header has columns")
            yield number, row


_READERS: dict[PromptLayout, Callable[[Path, PromptFormat], _Rows]] = {
    "prompt_json": _json,
    "prompt_jsonl": _json_lines,
    "prompt_csv": _csv,
}


def _bad(path: Path, number: int, what: str) -> DatasetError:
    return DatasetError(f"{path.name}, row {number}: {what}")
