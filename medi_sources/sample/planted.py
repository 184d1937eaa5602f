"""Evaluation texts planted in a few training sets: what decontamination has to find."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medi_sources.sample.genres import Row
from medi_sources.sample.tasks import Instance
from medi_sources.sample.texts import Text

Side = Literal["query", "pos"]

# dataset -> evaluation task whose text it gets, and on which side
_WHERE: dict[str, tuple[str, Side]] = {
    "squad_pairs": ("SampleRetrieval", "query"),
    "nq": ("SampleRetrieval", "pos"),
    "allnli": ("SampleSTS", "query"),
    "ccnews_title_text": ("SampleRetrieval", "pos"),
    "task1289_trec_classification": ("SampleCaptions", "query"),
}
_EACH = 2


@dataclass(frozen=True)
class Leak:
    """`text` stands in the dataset: a query word for word, a positive with words around it."""

    dataset: str
    side: Side
    text: str
    task: str
    kind: Literal["exact", "ngram"]


def leaks_of(dataset: str, evaluation: Mapping[str, bytes]) -> list[Leak]:
    """What is planted in the dataset; `evaluation` has the evaluation files by name."""
    if dataset not in _WHERE:
        return []
    task, side = _WHERE[dataset]
    found = _texts(task, side, evaluation)[:_EACH]
    if side == "query":
        return [Leak(dataset, side, _respaced(text), task, "exact") for text in found]
    return [Leak(dataset, side, f"So it is told: {text}", task, "ngram") for text in found]


def planted_rows(rows: Sequence[Row], leaks: Sequence[Leak]) -> list[Row]:
    """One row a leak, beside the dataset's own."""
    return [_row(rows[(7 * i + 1) % len(rows)], leak) for i, leak in enumerate(leaks)]


def planted_instances(instances: Sequence[Instance], leaks: Sequence[Leak]) -> list[Instance]:
    return [
        replace(instances[(7 * i + 1) % len(instances)], input=leak.text, about=leak.text)
        for i, leak in enumerate(leaks)
    ]


def _row(row: Row, leak: Leak) -> Row:
    if leak.side == "query":
        near = Text(f"{row.pos[0].text} So someone asked: {leak.text}", row.pos[0].says)
        return replace(row, query=Text(leak.text, row.query.says), pos=(near, *row.pos[1:]))
    query = Text(f"Please tell me. {row.query.text}", row.query.says)
    return replace(row, query=query, pos=(Text(leak.text, row.pos[0].says), *row.pos[1:]))


def _texts(task: str, side: Side, files: Mapping[str, bytes]) -> list[str]:
    if task == "SampleSTS":
        return [row[0] for row in csv.reader(files["sts.csv"].decode().splitlines())]
    if task == "SampleCaptions":
        lines = files["captions_THumB-1.0.jsonl"].decode().splitlines()
        return [json.loads(line)["hyp"] for line in lines]
    paragraphs = [a["paragraphs"][0] for a in json.loads(files["squad.json"])["data"]]
    if side == "query":
        return [paragraph["qas"][0]["question"] for paragraph in paragraphs]
    return [paragraph["context"] for paragraph in paragraphs]


def _respaced(text: str) -> str:
    """The same text to whoever compares words: what copies look like in the wild."""
    return text.upper().replace(" ", "  ")
