"""Readers: one module per upstream layout, each turning files into items.

A bad row never raises, it comes out as Dropped with one of these reasons: "malformed",
"wrong_fields", "invalid_utf8", "nul_byte", "no_positive". A file that cannot be read as a whole
raises DatasetError naming the file, what was expected and what was found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medi_sources import records
from medi_sources.readers import (
    columns,
    jsonl_list,
    jsonl_query_pos_neg,
    jsonl_set,
    kilt,
    kilt_dpr,
    parallel_lines,
    pubmedqa,
    squad,
    superni,
)
from medi_sources.readers.items import Dropped, Item
from medi_sources.readers.superni import superni_definition

__all__ = ["Dropped", "Item", "read", "superni_definition"]


def read(source: records.Source, files: Sequence[Path]) -> Iterator[Item | Dropped]:
    """The rows of a source, numbered from 0, from local files in `source.location.files` order.

    Rows are read as they are asked for; only pubmedqa, squad and superni load a whole file.
    """
    match source.reader:
        case records.JsonlList():
            return jsonl_list.read(source.reader, files)
        case records.JsonlSet():
            return jsonl_set.read(files)
        case records.JsonlQueryPosNeg():
            return jsonl_query_pos_neg.read(source.reader, files)
        case records.KiltDpr():
            return kilt_dpr.read(files)
        case records.Kilt():
            return kilt.read(files)
        case records.PubMedQa():
            return pubmedqa.read(files)
        case records.Columns():
            return columns.read(source.reader, files)
        case records.Squad():
            return squad.read(files)
        case records.ParallelLines():
            return parallel_lines.read(source.reader, files)
        case records.SuperNi():
            return superni.read(files)
