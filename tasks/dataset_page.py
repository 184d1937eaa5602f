"""The page of a dataset in the Prefect UI: licence, sources, rows, two plots, samples, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from artifacts.location import LocalFiles, Location
from artifacts.publication import COMMERCIAL
from artifacts.store import Artifact
from medi_sources.records import Source
from tasks.markdown import link, plain, table
from tasks.pictures import histograms, image, spreads

_FILES = 3  # of a source's files so many are linked
_ROWS = 3
_SCORED = 100_000  # of the scores of a dataset so many are in its histogram


def dataset_page(source: Source, stages: Mapping[str, Artifact], invented: bool) -> str:
    """Markdown of a few kilobytes. `invented`: the rows are the sample's, not the source's."""
    counts = {stage: artifact.manifest.counts for stage, artifact in stages.items()}
    rows = _first_rows(stages["shards"])
    spread = counts["mine"]["tokens"]
    lengths = {"query": spread["query"], "positive": spread["pos"]}
    tokens = spreads("tokens: median, 95 %, longest", lengths)
    parts = [
        "\n".join([*_facts(source, invented), f"- rows: {_rows(counts)}", *_said(rows)]),
        image(tokens, "token lengths"),
        image(_scores(stages["shards"]), "distribution of scores"),
        table(["dropped for", "in stage", "rows"], _dropped(counts)),
        *(_sample(number, row) for number, row in enumerate(rows, start=1)),
        "**in the store**",
        "\n".join(f"- {stage}: {plain(made.folder, 300)}" for stage, made in stages.items()),
    ]
    return "\n\n".join(parts)


def failed_page(source: Source, error: str) -> str:
    """`error`: the stage and its words."""
    return "\n".join([f"- failed in {plain(error, 2000)}", *_facts(source, invented=False)])


def dropped_share(counts: Mapping[str, Mapping[str, Any]]) -> float:
    """Of the rows that were read; `counts` has those of each stage that is done."""
    rows_in = counts["pairs"]["rows_in"] if "pairs" in counts else 0
    return _dropped_rows(counts) / rows_in if rows_in else 0.0


def _dropped_rows(counts: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(sum(one.get("dropped", {}).values()) for one in counts.values())


def _facts(source: Source, invented: bool) -> list[str]:
    licence = f"{source.licence.spdx}, commercial use {COMMERCIAL[source.licence.commercial]}"
    lies = "; ".join(_links(source.location))
    return [
        f"- licence: {plain(licence)}",
        f"- source: {lies} (these rows are invented: the sample)"
        if invented
        else f"- source: {lies}",
    ]


def _links(location: Location) -> Iterator[str]:
    for file in location.files[:_FILES]:
        archive, _, member = file.partition("::")
        name = Path(member or archive).name
        yield plain(name) if isinstance(location, LocalFiles) else link(name, location.url(archive))
    more = len(location.files) - _FILES
    if more > 0:
        yield f"and {more} more"


def _rows(counts: Mapping[str, Mapping[str, Any]]) -> str:
    rows_in, rows_out = counts["pairs"]["rows_in"], counts["shards"]["rows"]
    return f"{rows_in:,} read, {_dropped_rows(counts):,} dropped, {rows_out:,} left"


def _dropped(counts: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    found = [
        [plain(reason), stage, f"{n:,}"]
        for stage, counted in counts.items()
        for reason, n in counted.get("dropped", {}).items()
    ]
    return found or [["nothing", "", "0"]]


def _said(rows: list[dict[str, Any]]) -> list[str]:
    """The instructions: all rows have the same."""
    sides = {"queries": "query_instruction", "documents": "doc_instruction"}
    return [
        f"- instruction of {n}: {plain(row[key])}" for row in rows[:1] for n, key in sides.items()
    ]


def _sample(number: int, row: dict[str, Any]) -> str:
    texts = {"query": row["query"], "positive": row["pos"], "negative": " ".join(row["neg"][:1])}
    said = (f"- {name}: {plain(text)}" for name, text in texts.items())
    return "\n".join([f"**row {number}**\n", *said])


def _first_rows(shards: Artifact) -> list[dict[str, Any]]:
    for batch in pq.ParquetFile(shards.files[0]).iter_batches(batch_size=_ROWS):
        rows: list[dict[str, Any]] = batch.to_pylist()
        return rows
    return []


def _scores(shards: Artifact) -> str:
    """A picture of the scores of positives and negatives, from the first rows."""
    positives, negatives, seen = [np.empty(0)], [np.empty(0)], 0
    files = (pq.ParquetFile(path) for path in shards.files)
    for batch in (b for f in files for b in f.iter_batches(columns=["pos_score", "neg_score"])):
        positives.append(batch.column("pos_score").drop_null().to_numpy(False))
        negatives.append(batch.column("neg_score").flatten().drop_null().to_numpy(False))
        seen += batch.num_rows
        if seen >= _SCORED:
            break
    found = {"positives": np.concatenate(positives), "negatives": np.concatenate(negatives)}
    return histograms("cosine to the query, share of texts", found)
