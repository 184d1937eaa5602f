"""Hard negatives for the rows of one dataset.

The paper does not say how it mined the negatives of the sets that come without; here a row gets
the texts of its own dataset that are nearest to its query, less those known or likely to be right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from artifacts.encoder import Encode, Vectors
from artifacts.row import DROPPED, MINED
from artifacts.text import normalise
from mining.choose import Rule, choose, known_positives, random_rows, score_bound
from mining.options import MiningOptions
from mining.search import Rows, cosines, top_k

Row = dict[str, Any]


@dataclass(frozen=True)
class MiningResult:
    """`table` has the schema MINED, `dropped` DROPPED, both ordered by row_id.

    `counts`: rows_in, rows_out, corpus (texts), dropped (reason -> rows), excluded (rule ->
    candidates passed over), randomly_completed (rows), and pos_score and neg_score, each mean,
    p10, p50 and p90 over the rows that are out (null without any).
    """

    table: pa.Table
    dropped: pa.Table
    counts: dict[str, Any]


def mine(pairs: pa.Table, symmetric: bool, encode: Encode, options: MiningOptions) -> MiningResult:
    """`pairs` (schema PAIRS, any order) with negatives and with scores.

    Candidates are the distinct normalised texts among the positives, the first
    `options.negatives` negatives that each row brings and, in a symmetric dataset, the queries.
    Never chosen for a row is a text that equals, normalised, its query or a positive known for
    that query in any row; nor one whose score is not below choose.score_bound, be it a random one.

    Rows marked "native" are treated by `options.native`; with "add" they stay marked so, their
    own negatives first. Rows marked "mined" were given negatives by other rules (Super-NI) and
    always keep them. Of kept negatives the first `options.negatives` stay, and get scores only.

    A row that finds fewer than it needs is completed with random candidates as far as the rules
    let some through, or dropped (`options.too_few`); one that is left without any is dropped under
    either. A row that keeps negatives of its own is never dropped.
    """
    rows: list[Row] = pairs.sort_by("row_id").to_pylist()
    if not rows:
        return _result([], [], [], 0)
    space = _encoded(rows, encode, options)
    pos_scores = space.cosines([row["query"] for row in rows], [row["pos"] for row in rows])
    kept_scores = _kept_scores(rows, space, options)
    corpus = _search(rows, symmetric, space, options)
    found = [
        _find(row, score_bound(pos_score, options.margin), corpus, space, options)
        for row, pos_score in zip(rows, pos_scores, strict=True)
    ]
    out: list[Row] = []
    dropped: list[Row] = []
    for row, pos_score, own_scores, mined in zip(rows, pos_scores, kept_scores, found, strict=True):
        own = _kept(row, options)
        if own or mined.enough:
            out.append(
                {
                    **{name: row[name] for name in ("row_id", "query", "pos")},
                    "neg": own + mined.texts,
                    "pos_score": pos_score,
                    "neg_score": own_scores + mined.scores,
                    "negatives": row["negatives"] if own else "mined",
                }
            )
        else:
            dropped.append(_drop(row, pos_score, options))
    return _result(out, dropped, found, len(corpus.texts))


@dataclass(frozen=True)
class _Space:
    """Every text of the dataset with its vector."""

    at: dict[str, int]
    vectors: Vectors

    def cosines(self, left: Sequence[str], right: Sequence[str]) -> list[float]:
        sides = (np.array([self.at[text] for text in side], np.int64) for side in (left, right))
        return [_as_written(score) for score in cosines(self.vectors, *sides)]


@dataclass(frozen=True)
class _Corpus:
    """The candidates, what is known of them, and the nearest of each query that needs some."""

    texts: list[str]
    normal: list[str]
    known: Mapping[str, Set[str]]
    nearest: Mapping[str, tuple[Rows, Vectors]]


@dataclass(frozen=True)
class _Found:
    """Mined negatives of one row; `enough` = the row may stay with them alone."""

    texts: list[str]
    scores: list[float]
    enough: bool
    passed_over: Mapping[Rule, int]
    completed: bool


def _find(row: Row, bound: float, corpus: _Corpus, space: _Space, options: MiningOptions) -> _Found:
    need = _need(row, options)
    if not need:
        return _Found([], [], True, {}, False)
    barred = {normalise(text) for text in _kept(row, options)}
    barred |= corpus.known[normalise(row["query"])]
    best = choose(
        _pairs(*corpus.nearest[row["query"]]), lambda i: corpus.normal[i] in barred, bound, need
    )
    rows, scores = list(best.rows), list(best.scores)
    if len(rows) < need and options.too_few == "random":
        barred |= {corpus.normal[i] for i in rows}
        drawn = _random(row, corpus, space, options)
        more = choose(drawn, lambda i: corpus.normal[i] in barred, bound, need - len(rows))
        rows, scores = rows + list(more.rows), scores + list(more.scores)
    return _Found(
        texts=[corpus.texts[i] for i in rows],
        scores=scores,
        enough=len(rows) == need or (options.too_few == "random" and bool(rows)),
        passed_over=best.passed_over,
        completed=len(rows) > len(best.rows),
    )


def _random(
    row: Row, corpus: _Corpus, space: _Space, options: MiningOptions
) -> Iterator[tuple[int, float]]:
    drawn = random_rows(len(corpus.texts), options.candidates, options.seed, row["row_id"])
    texts = [corpus.texts[i] for i in drawn]
    return zip(drawn, space.cosines([row["query"]] * len(texts), texts), strict=True)


def _kept(row: Row, options: MiningOptions) -> list[str]:
    """The negatives that came with the row and stay."""
    if row["negatives"] is None or (row["negatives"] == "native" and options.native == "replace"):
        return []
    kept: list[str] = row["neg"][: options.negatives]
    return kept


def _need(row: Row, options: MiningOptions) -> int:
    """How many negatives are to be mined for the row."""
    kept = _kept(row, options)
    if kept and (row["negatives"] == "mined" or options.native == "keep"):
        return 0
    return options.negatives - len(kept)


def _encoded(rows: list[Row], encode: Encode, options: MiningOptions) -> _Space:
    texts: dict[str, int] = {}
    for row in rows:
        for text in (row["query"], row["pos"], *row["neg"][: options.negatives]):
            texts.setdefault(text, len(texts))
    return _Space(texts, encode(list(texts)))


def _kept_scores(rows: list[Row], space: _Space, options: MiningOptions) -> list[list[float]]:
    kept = [(row["query"], text) for row in rows for text in _kept(row, options)]
    scores = iter(space.cosines([query for query, _ in kept], [text for _, text in kept]))
    return [[next(scores) for _ in _kept(row, options)] for row in rows]


def _search(rows: list[Row], symmetric: bool, space: _Space, options: MiningOptions) -> _Corpus:
    """Candidates in order of row_id; of texts equal when normalised, the first as it is written."""
    queries = list(dict.fromkeys(row["query"] for row in rows if _need(row, options)))
    if not queries:
        return _Corpus([], [], {}, {})
    corpus: dict[str, str] = {}
    for row in rows:
        own = [row["query"]] if symmetric else []
        for text in (row["pos"], *own, *row["neg"][: options.negatives]):
            corpus.setdefault(normalise(text), text)
    found = top_k(
        space.vectors[[space.at[query] for query in queries]],
        space.vectors[[space.at[text] for text in corpus.values()]],
        options.candidates,
        options.memory_mib,
        options.device,
    )
    nearest = dict(zip(queries, zip(*found, strict=True), strict=True))
    return _Corpus(list(corpus.values()), list(corpus), known_positives(rows, symmetric), nearest)


def _pairs(rows: Rows, scores: Vectors) -> Iterator[tuple[int, float]]:
    for row, score in zip(rows, scores, strict=True):
        yield int(row), _as_written(score)


def _as_written(score: np.float32) -> float:
    """The decimal that a rounded fp32 score stands for, so that it compares as on paper."""
    return round(float(score), 4)


def _drop(row: Row, pos_score: float, options: MiningOptions) -> Row:
    bound = score_bound(pos_score, options.margin)
    detail = f"needs {options.negatives} negatives that score below {bound:.4f}"
    return {"row_id": row["row_id"], "reason": "too_few_negatives", "detail": detail}


def _result(out: list[Row], dropped: list[Row], found: list[_Found], corpus: int) -> MiningResult:
    rules: tuple[Rule, ...] = ("known_positive", "margin")
    counts = {
        "rows_in": len(out) + len(dropped),
        "rows_out": len(out),
        "corpus": corpus,
        "dropped": dict(sorted(Counter(row["reason"] for row in dropped).items())),
        "excluded": {rule: sum(row.passed_over.get(rule, 0) for row in found) for rule in rules},
        "randomly_completed": sum(row.completed for row in found),
        "pos_score": _summary([row["pos_score"] for row in out]),
        "neg_score": _summary([score for row in out for score in row["neg_score"]]),
    }
    return MiningResult(
        pa.Table.from_pylist(out, schema=MINED),
        pa.Table.from_pylist(dropped, schema=DROPPED),
        counts,
    )


def _summary(scores: list[float]) -> dict[str, float | None]:
    if not scores:
        return dict.fromkeys(("mean", "p10", "p50", "p90"))
    p10, p50, p90 = np.percentile(scores, [10, 50, 90])
    figures = {"mean": np.mean(scores), "p10": p10, "p50": p50, "p90": p90}
    return {name: round(float(figure), 4) for name, figure in figures.items()}
