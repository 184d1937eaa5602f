"""Queries and documents to mine: real ones, or those of the sample world."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from medi_sources.catalog import load_catalog
from medi_sources.sample import write_sample

Group = tuple[str, list[str]]  # a query, and documents of its kind, the first of them right for it


def write_rows(work: Path, data: Path, queries: int, documents: int) -> dict[str, Any]:
    """rows.json: [{"query", "pos", "others"}], and what is in it.

    Captions of one image, questions about one paragraph and inputs of one task: each brings the
    repetitions that it really has. Fewer rows where there are fewer texts.
    """
    others = max(0, documents // queries - 1)
    if (data / "train").is_dir():
        source = "captions, task inputs, paragraphs"
        groups = _mixed(data / "train", queries)
    else:
        source, groups = "sample world", _sample()
    found = list(islice(groups, queries))
    spare = chain.from_iterable(texts for _, texts in groups)  # of the kind that comes last
    rows = [_row(query, texts, spare, others) for query, texts in found]
    (work / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    texts = [text for row in rows for text in (row["pos"], *row["others"])]
    return {
        "source": source,
        "queries": len(rows),
        "distinct_queries": len({row["query"] for row in rows}),
        "documents": len(texts),
        "distinct_documents": len(set(texts)),
    }


def _row(query: str, texts: list[str], spare: Iterator[str], others: int) -> dict[str, Any]:
    more = islice(chain(texts[1:], spare), others)
    return {"query": query, "pos": texts[0], "others": list(more)}


def _mixed(train: Path, queries: int) -> Iterator[Group]:
    """A tenth questions, a tenth task inputs, the rest captions."""
    yield from islice(_questions(train), queries // 10)
    yield from islice(_task_inputs(train), queries // 10)
    yield from _captions(train)


def _captions(train: Path) -> Iterator[Group]:
    files = [train / f"multi30k/data/task2/raw/train.{i}.en.gz" for i in range(1, 6)]
    texts = [gzip.decompress(path.read_bytes()).decode().splitlines() for path in files]
    for query, *documents in zip(*texts, strict=True):
        yield query, documents


def _task_inputs(train: Path) -> Iterator[Group]:
    paths = sorted((train / "superni" / "tasks").glob("*.json"))
    tasks = [json.loads(path.read_text(encoding="utf-8"))["Instances"] for path in paths]
    for i in range(0, 300, 6):
        for task in tasks:
            inputs = [instance["input"] for instance in task[i : i + 6]]
            if len(inputs) > 1:
                yield inputs[0], inputs[1:]


def _questions(train: Path) -> Iterator[Group]:
    path = train / "squad_xquad" / "xquad.en.json"
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield asked["question"], [paragraph["context"]]


def _sample() -> Iterator[Group]:
    with tempfile.TemporaryDirectory() as folder:
        write_sample(list(load_catalog().values()), Path(folder), rows=150)
        for path in sorted((Path(folder) / "truth").glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                truth = json.loads(line)
                if truth["answers"]:
                    yield truth["query"], truth["answers"]


def write_sample_encoder(folder: Path) -> Path:
    if not folder.is_dir():
        write_sample([], folder)
    return folder / "mirror" / "huggingface.co" / "medi" / "sample-encoder"
