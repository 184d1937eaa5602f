"""What the profile `paper` would take on 1, 8 and 64 GPUs: arithmetic, nothing is run.

    python -m benchmarks.paper_arithmetic

Counts of rows, files, steps and characters are the profile's, the catalogs' and mteb's own
descriptive statistics. Whatever else goes in is in the first table that is printed, and in
benchmarks/paper_counts.py: replace there what you know better. The tables of docs/scaling.md are
what this prints.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.paper_counts import (
    ASSUMED,
    Training,
    disk,
    encodings,
    evaluation_hours,
    mining_hours,
    requests,
    retrieved_texts,
    source_bytes,
    sources,
    tasks,
)
from flows.profiles import get_profile

GPUS = (1, 8, 64)
GB, TB = 1e9, 1e12


def main() -> None:
    print("\n".join(page()))


def page() -> list[str]:
    """The lines of docs/scaling.md between its two marks."""
    return [*_assumed(), "", *_by_gpus(), "", *_once()]


def _assumed() -> list[str]:
    rows = [(f"{each.value:,g}", each.unit, each.what) for each in ASSUMED.values()]
    return _table(("assumed", "unit", "of what"), rows, "rll")


def _by_gpus() -> list[str]:
    rows_a_step = get_profile("paper").train.options.batch_rows
    same = [Training(n, rows_a_step / n) for n in GPUS]
    full = [Training(n, rows_a_step) for n in GPUS]
    steps = f"{full[0].steps:,} steps"
    total = sum(source.rows for source in sources())
    lines = [
        ("mining: encode, hours", [_short(mining_hours(n)) for n in GPUS]),
        (f"training, {steps} of {rows_a_step} rows in all, hours", [_short(t.hours) for t in same]),
        ("— rows a GPU and step", [_short(t.rows) for t in same]),
        (f"training, {steps} of {rows_a_step} rows a GPU, hours", [_short(t.hours) for t in full]),
        ("— epochs", [_short(t.rows * t.gpus * t.steps / total) for t in full]),
        ("— memory of a GPU, GB", [_short(t.memory / GB) for t in full]),
        ("— sent by a GPU in a step, GB", [_short(t.reduced_bytes / GB) for t in full]),
        ("evaluation, two models, hours", [_short(evaluation_hours(n)) for n in GPUS]),
    ]
    heads = ("", *(f"{n} GPU{'s' if n > 1 else ''}" for n in GPUS))
    return _table(heads, [(name, *cells) for name, cells in lines], "lrrr")


def _once() -> list[str]:
    held = disk()
    evaluated = sum(task.characters for task in tasks()) * ASSUMED["packed"].value
    lines = [
        *((name, f"{_short(size / GB)} GB") for name, size in held.items()),
        ("disk, all of these", f"{_short(sum(held.values()) / TB)} TB"),
        ("received: sources", f"{_short(source_bytes() / GB)} GB"),
        ("received: evaluation data", f"{_short(evaluated / GB)} GB"),
        *((f"requests: {who}", f"{count:,}") for who, count in requests().items()),
        ("texts encoded for mining", f"{sum(each.texts for each in encodings()) / 1e6:,.1f} M"),
        ("texts of the retrieval tasks", f"{retrieved_texts() / 1e6:,.1f} M"),
    ]
    return _table(("once, on any number of GPUs", ""), lines, "lr")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    rule = "|".join("---:" if side == "r" else "---" for side in sides)
    return [f"| {' | '.join(heads)} |", f"|{rule}|", *(f"| {' | '.join(row)} |" for row in rows)]


def _short(value: float) -> str:
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"


if __name__ == "__main__":
    main()
