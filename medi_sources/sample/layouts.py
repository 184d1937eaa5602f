"""Rows as files in the true upstream layouts: the inverse of the readers.

The fields that readers pass over are there too, as upstream has them.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medi_sources.records import Columns, JsonlList, JsonlQueryPosNeg, ParallelLines, Reader
from medi_sources.sample.genres import Row
from medi_sources.sample.texts import Text

_FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)  # zip knows no earlier one


def encode(reader: Reader, files: Sequence[str], rows: Sequence[Row]) -> dict[str, bytes]:
    """The content of the files, uncompressed, by file name.

    Only `parallel_lines` spreads rows over several files; all others take one file.
    """
    if isinstance(reader, ParallelLines):
        texts = [[row.query, *row.pos] for row in rows]
        columns = zip(*texts, strict=True)
        return {
            file: "".join(f"{text.text}\n" for text in column).encode()
            for file, column in zip(files, columns, strict=True)
        }
    (file,) = files
    if isinstance(reader, JsonlList):
        return {file: _lines(_list(reader, row) for row in rows)}
    if isinstance(reader, JsonlQueryPosNeg):
        return {file: _lines(_object(reader, row) for row in rows)}
    if isinstance(reader, Columns):
        return {file: _table(reader, file, rows)}
    return {file: _WHOLE_FILES[reader.layout](rows)}


def write_files(mirror: Path, contents: Mapping[str, bytes]) -> None:
    """Write files by their mirror paths; `a.zip::b` is member b of a.zip, `.gz` compresses."""
    archives: dict[str, dict[str, bytes]] = {}
    for path, content in contents.items():
        archive, _, member = path.partition("::")
        packed = gzip.compress(content, mtime=0) if path.endswith(".gz") else content
        if member:
            archives.setdefault(archive, {})[member] = packed
        else:
            _write(mirror / path, packed)
    for archive, members in archives.items():
        _write(mirror / archive, _zip(members))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _FIRST_MOMENT)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, members[name])
    return buffer.getvalue()


def _lines(values: Iterable[Any]) -> bytes:
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values).encode()


def _plain(texts: Sequence[Text]) -> list[str]:
    return [text.text for text in texts]


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _list(reader: JsonlList, row: Row) -> list[str]:
    roles = {reader.query: row.query.text, reader.pos: row.pos[0].text}
    if reader.neg is not None:
        roles[reader.neg] = row.neg[0].text
    return [roles.get(i, row.title) for i in range(max(roles) + 1)]


def _sets(rows: Sequence[Row]) -> bytes:
    return _lines({"set": [row.query.text, *_plain(row.pos)]} for row in rows)


def _object(reader: JsonlQueryPosNeg, row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {reader.query: row.query.text, reader.pos: _plain(row.pos)}
    return {**line, reader.neg: _plain(row.neg)} if row.neg else line


def _kilt_dpr(rows: Sequence[Row]) -> bytes:
    def context(row: Row, text: Text) -> dict[str, Any]:
        passage_id = str(_number(text.text))
        title = row.title if text.text else ""
        return {"title": title, "text": text.text, "score": 0.0, "passage_id": passage_id}

    items = [
        {
            "question": row.query.text,
            "answers": [row.answer],
            "positive_ctxs": [context(row, text) for text in row.pos],
            "negative_ctxs": [],
            "hard_negative_ctxs": [context(row, text) for text in row.neg],
        }
        for row in rows
    ]
    return json.dumps(items, indent=4, ensure_ascii=False).encode()


def _kilt(rows: Sequence[Row]) -> bytes:
    def line(number: int, row: Row) -> dict[str, Any]:
        pages = [
            {"wikipedia_id": str(_number(text.text)), "title": text.text, "section": "Section::::"}
            for text in row.pos
        ]
        output = [{"answer": row.answer, "provenance": pages}]
        return {"id": f"sample-{number}", "input": row.query.text, "output": output, "meta": {}}

    return _lines(line(number, row) for number, row in enumerate(rows))


def _pubmedqa(rows: Sequence[Row]) -> bytes:
    """Contexts joined by one space give the positive."""
    items = {}
    for number, row in enumerate(rows):
        contexts = row.pos[0].text.replace(". ", ".\n").split("\n")
        items[str(30_000_000 + number)] = {
            "QUESTION": row.query.text,
            "CONTEXTS": contexts,
            "LABELS": ["RESULTS"] * len(contexts),
            "MESHES": ["Humans"],
            "YEAR": "2001",
            "final_decision": "yes",
            "LONG_ANSWER": f"It is {row.answer}.",
        }
    return json.dumps(items, indent=4, ensure_ascii=False).encode()


def _squad(rows: Sequence[Row]) -> bytes:
    articles = []
    for title, group in groupby(rows, key=lambda row: row.title):
        paragraphs = [
            {"context": context, "qas": [_squad_question(row) for row in same]}
            for context, same in groupby(group, key=lambda row: row.pos[0].text)
        ]
        articles.append({"title": title, "paragraphs": paragraphs})
    return json.dumps({"data": articles, "version": "1.1"}, ensure_ascii=False).encode()


def _squad_question(row: Row) -> dict[str, Any]:
    context, question = row.pos[0].text, row.query.text
    start = context.lower().find(row.answer.lower())
    found = context[start : start + len(row.answer)] if start >= 0 else ""
    answers = [{"text": found, "answer_start": max(start, 0)}]
    identity = hashlib.sha256(f"{question}\n{context}".encode()).hexdigest()[:24]
    return {"id": identity, "question": question, "answers": answers}


def _table(reader: Columns, file: str, rows: Sequence[Row]) -> bytes:
    records = []
    for number, row in enumerate(rows):
        record: dict[str, str | None] = {"id": f"sample-{number}", reader.query: row.query.text}
        record[reader.pos] = row.pos[0].text or None
        if reader.neg is not None:
            record[reader.neg] = row.neg[0].text
        records.append(record)
    suffix = Path(file.removesuffix(".gz")).suffix
    if suffix == ".parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(records), buffer)
        return buffer.getvalue()
    if suffix in (".csv", ".tsv"):
        out = io.StringIO(newline="")
        delimiter = "\t" if suffix == ".tsv" else ","
        writer = csv.DictWriter(out, list(records[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return out.getvalue().encode()
    return _lines(records)


_WHOLE_FILES: dict[str, Callable[[Sequence[Row]], bytes]] = {
    "jsonl_set": _sets,
    "kilt_dpr": _kilt_dpr,
    "kilt": _kilt,
    "pubmedqa": _pubmedqa,
    "squad": _squad,
}
