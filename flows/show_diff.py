"""`medi diff A B`: tables on a terminal, JSON for machines."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from artifacts.diff import Change, DatasetChange, Difference, diff, open_published

_WORDS = {
    "query_instruction": "query instruction",
    "doc_instruction": "document instruction",
    "licence": "licence",
    "commercial_use": "commercial use",
    "in_batch_negatives": "in-batch negatives",
}


def run_diff(before: str, after: str, as_json: bool) -> int:
    """Exit status: 0, whatever differs. Raises InputError for a path that is no MEDI folder."""
    first, second = open_published(Path(before)), open_published(Path(after))
    found = diff(first, second)
    if as_json:
        print(json.dumps(asdict(found), ensure_ascii=False))
    else:
        _show(found)
    return 0


def _show(found: Difference) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=200)
    for title, names in (("added", found.added), ("removed", found.removed)):
        for name, rows in names.items():
            print(f"{title}: {name} ({rows:,} rows)")
    if found.changed:
        console.print(_rows(found.changed))
    if any(_told(one) for one in found.changed):
        console.print(_wording(found.changed))
    for name, (old, new) in found.build.items():
        print(f"build {name}: {_text(old)} -> {_text(new)}")
    for line in _environments(found.changed):
        print(line)
    if not found.ledgers:
        print("no ledger.csv beside one of the manifests: instructions and licences not compared")
    print(
        f"{len(found.added)} datasets added, {len(found.removed)} removed, "
        f"{len(found.changed)} changed, {found.unchanged} as they were"
    )


def _rows(changes: list[DatasetChange]) -> Table:
    table = Table(
        "dataset", "rows before", "after", "added", "removed", "changed", "rescored", "other keys"
    )
    for one in changes:
        rows = one.row_changes
        counts = (rows.added, rows.removed, rows.changed, rows.rescored) if rows else ("?",) * 4
        shown = [f"{n:,}" if isinstance(n, int) else n for n in (*one.rows, *counts)]
        table.add_row(one.dataset, *shown, ", ".join(one.keys))
    return table


def _wording(changes: list[DatasetChange]) -> Table:
    table = Table("dataset", "what", "before", "after")
    for one in changes:
        for field, (old, new) in _told(one).items():
            table.add_row(one.dataset, _WORDS[field], escape(_text(old)), escape(_text(new)))
    return table


def _told(one: DatasetChange) -> dict[str, Change]:
    """What is said of a dataset's rows, not what is in them."""
    in_batch = one.in_batch_negatives
    told = one.instructions | one.licence
    return told | ({"in_batch_negatives": in_batch} if in_batch else {})


def _environments(changes: list[DatasetChange]) -> list[str]:
    """One line a change, not one a dataset: a new library version touches all of them."""
    counted = Counter(
        (name, _text(old), _text(new))
        for one in changes
        for name, (old, new) in one.environment.items()
    )
    return [
        f"environment {name}: {old} -> {new} ({n} datasets)"
        for (name, old, new), n in sorted(counted.items())
    ]


def _text(value: object) -> str:
    return "none" if value is None else str(value)
