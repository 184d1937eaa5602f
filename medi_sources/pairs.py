"""The pairs stage: from the files of a source to clean, distinct (query, positive) rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from artifacts.encoder import Encode
from artifacts.errors import DatasetError
from artifacts.row import PAIRS
from artifacts.text import normalise
from medi_sources.boilerplate import find_boilerplate, without_boilerplate
from medi_sources.clean import BAD_REASONS, CleaningOptions, clean
from medi_sources.dropped import DroppedRows
from medi_sources.near_duplicates import near_duplicates
from medi_sources.query_sample import Query, QuerySample, rank
from medi_sources.readers import Dropped, Item, read
from medi_sources.records import Source
from medi_sources.superni import Instance, Partners, TaskPairs, superni_pairs

VERSION = 2
_BATCH = 10_000  # rows of one Arrow batch: the texts of one batch must stay below 2 GB


class PairsOptions(BaseModel):
    """How pairs are made. `cap` is the most rows to keep, None for all; `first_row` the position
    in the source of the first row of the files, where these are a window of it.

    `superni_memory_mib` bounds the scores of a Super-NI task and never changes a result.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    cap: int | None = Field(default=None, gt=0)
    first_row: int = Field(default=0, ge=0)
    cleaning: CleaningOptions = CleaningOptions()
    native_negatives: int = Field(default=8, ge=0)  # of a row, the first ones; some have 100
    superni_negatives: int = Field(default=4, ge=1)
    superni_memory_mib: int = Field(default=512, ge=1)


@dataclass(frozen=True)
class PairsResult:
    """`pairs` (artifacts.row.PAIRS) and `dropped` (DROPPED) are sorted by row_id, and every row
    of the source is in exactly one of them.

    counts: rows_in, rows_out, native (rows with negatives of the source), dropped {reason: n};
    for Super-NI also superni_kind and what it was judged by: superni_labels (distinct outputs)
    and superni_instances (distinct inputs).
    """

    pairs: pa.Table
    dropped: pa.Table
    counts: dict[str, Any]


def build_pairs(
    source: Source, files: Sequence[Path], options: PairsOptions, encode: Encode | None = None
) -> PairsResult:
    """Read, clean, join what has the same query, and keep a seeded sample of at most `cap`.

    The sample is of distinct queries, drawn by the seed and the query's text; only what is taken
    is held, whatever the size of the files. Near-duplicates, where asked for, are sought in the
    sample, which they leave smaller. `encode` is used for Super-NI only, where pairs are sought
    among all instances of the task (near-duplicates before that) and sampled afterwards.

    Raises DatasetError where a file cannot be read, more than `max_drop_share` of the rows are
    bad, or no row is left; InputError for a `superni_memory_mib` that is too small.
    """
    dropped = DroppedRows()
    items = _clean_items(source, files, options, dropped)
    extra: dict[str, Any] = {}
    if source.reader.layout == "superni":
        if encode is None:
            raise ValueError("Super-NI pairs need an encoder")
        rows, extra = _superni_rows(items, options, encode, dropped)
    else:
        rows = _sampled_rows(items, options, dropped)
    _require_sound(source, dropped, len(rows), options.cleaning.max_drop_share)
    rows.sort(key=lambda row: row["row_id"])
    counts = {
        "rows_in": dropped.rows_in,
        "rows_out": len(rows),
        "native": sum(row["negatives"] == "native" for row in rows),
        "dropped": dropped.reasons(),
        **extra,
    }
    return PairsResult(_table(rows), dropped.table(), counts)


def _clean_items(
    source: Source, files: Sequence[Path], options: PairsOptions, dropped: DroppedRows
) -> Iterator[Item]:
    cleaning = options.cleaning

    def items() -> Iterator[Item]:
        for row in read(source, files):
            if isinstance(row, Item) and isinstance(item := clean(row, cleaning), Item):
                yield item

    boilerplate = find_boilerplate(items, source.symmetric, cleaning)
    for row in read(source, files):
        dropped.rows_in += 1
        if options.first_row:
            row = replace(row, row_id=row.row_id + options.first_row)
        item = row if isinstance(row, Dropped) else clean(row, cleaning)
        if isinstance(item, Item):
            item = without_boilerplate(item, boilerplate)
        if isinstance(item, Dropped):
            dropped.add(item)
        else:
            yield item


def _sampled_rows(
    items: Iterator[Item], options: PairsOptions, dropped: DroppedRows
) -> list[dict[str, Any]]:
    sample = QuerySample(options.cap, options.seed, dropped)
    for item in items:
        if item.is_set:
            item = _two_first(item, options.seed)
        if len(item.negatives) > options.native_negatives:
            item = replace(item, negatives=item.negatives[: options.native_negatives])
        sample.add(item)
    rows = [_row(query) for query in sample.finish()]
    texts = {row["row_id"]: (row["query"], row["pos"]) for row in rows}
    gone = _near_duplicates(texts, options.cleaning.near_duplicates, dropped)
    return [row for row in rows if row["row_id"] not in gone]


def _near_duplicates(
    texts: Mapping[int, tuple[str, ...]], threshold: float | None, dropped: DroppedRows
) -> set[int]:
    """The row_ids, among those of `texts` (in their order), that are dropped."""
    if threshold is None:
        return set()
    row_ids = list(texts)
    found = near_duplicates(list(texts.values()), threshold)
    for later, first in found.items():
        dropped.add(Dropped(row_ids[later], "near_duplicate", f"row {row_ids[first]}"))
    return {row_ids[later] for later in found}


def _two_first(item: Item, seed: int) -> Item:
    """A set with two of its texts, chosen by seed and row_id, as query and first positive.

    The query stays among the known positives: no text of the set may become a negative.
    """
    texts = [item.query, *item.positives]
    query = texts.pop(rank(seed, f"query of {item.row_id}") % len(texts))
    first = texts.pop(rank(seed, f"positive of {item.row_id}") % len(texts))
    return replace(item, query=query, positives=(first, *texts, query))


def _row(query: Query) -> dict[str, Any]:
    right = {normalise(query.item.query), *query.known}
    negatives = [text for text in query.item.negatives if normalise(text) not in right]
    return {
        "row_id": query.item.row_id,
        "query": query.item.query,
        "pos": query.item.positives[0],
        "known_pos": list(query.known.values()),
        "neg": negatives,
        "negatives": "native" if negatives else None,
    }


def _superni_rows(
    items: Iterator[Item], options: PairsOptions, encode: Encode, dropped: DroppedRows
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    instances = _distinct_instances(items, options.cleaning, dropped)
    if not instances:
        return [], {}
    task = superni_pairs(instances, encode, options.superni_negatives, options.superni_memory_mib)
    paired: list[int] = []
    for i, (instance, partners) in enumerate(zip(instances, task.partners, strict=True)):
        if partners.positive is not None and partners.negatives:
            paired.append(i)
        else:
            dropped.add(Dropped(instance.row_id, "no_partner", _lacking(partners, task)))
    paired.sort(key=lambda i: (rank(options.seed, normalise(instances[i].input)), i))
    for i in paired[options.cap :] if options.cap else []:
        dropped.add(Dropped(instances[i].row_id, "over_cap"))
    rows = [_superni_row(i, instances, task) for i in paired[: options.cap]]
    return rows, {
        "superni_kind": task.kind,
        "superni_labels": task.labels,
        "superni_instances": len(instances),
    }


def _lacking(partners: Partners, task: TaskPairs) -> str:
    if partners.positive is None:
        return "no positive: no other instance has its label"
    if task.labels == 1:
        return "no negative: every instance has the same output"
    return "no negative: no other instance is left"


def _distinct_instances(
    items: Iterator[Item], options: CleaningOptions, dropped: DroppedRows
) -> list[Instance]:
    """One instance an input: the first; a later one is a duplicate whatever its output."""
    instances: dict[str, Instance] = {}
    for item in items:
        key = normalise(item.query)
        if key in instances:
            dropped.add(Dropped(item.row_id, "duplicate", f"row {instances[key].row_id}"))
        else:
            instances[key] = Instance(item.row_id, item.query, item.output or "")
    texts = {each.row_id: (each.input,) for each in instances.values()}
    gone = _near_duplicates(texts, options.near_duplicates, dropped)
    return [each for each in instances.values() if each.row_id not in gone]


def _superni_row(i: int, instances: Sequence[Instance], task: TaskPairs) -> dict[str, Any]:
    partners = task.partners[i]
    assert partners.positive is not None
    positive = instances[partners.positive].input
    return {
        "row_id": instances[i].row_id,
        "query": instances[i].input,
        "pos": positive,
        "known_pos": [positive],
        "neg": [instances[j].input for j in partners.negatives],
        "negatives": "mined",
    }


def _require_sound(source: Source, dropped: DroppedRows, rows_out: int, max_share: float) -> None:
    reasons = dropped.reasons()
    listed = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    bad = sum(count for reason, count in reasons.items() if reason in BAD_REASONS)
    if bad > max_share * dropped.rows_in:
        first = dropped.first(BAD_REASONS)
        raise DatasetError(
            f"{source.name}: {bad} of {dropped.rows_in} rows are unusable ({listed}), more than "
            f"max_drop_share {max_share} allows; the first is {first}"
        )
    if not rows_out:
        first = f"; the first is {dropped.first(reasons)}" if reasons else ""
        raise DatasetError(
            f"{source.name}: no usable row among {dropped.rows_in} "
            f"({listed or 'no rows at all'}){first}"
        )


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    batches = [
        pa.RecordBatch.from_pylist(rows[start : start + _BATCH], schema=PAIRS)
        for start in range(0, len(rows), _BATCH)
    ]
    return pa.Table.from_batches(batches, schema=PAIRS)
