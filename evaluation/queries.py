"""Scores of a retrieval or reranking task by query, as mteb takes them before it takes the mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Mapping[str, float]]

_MEASURES = {"ndcg": "ndcg_cut", "map": "map_cut", "recall": "recall", "precision": "P"}
_SUBQUERIES = "max_over_subqueries_"
_IDS_AT_ONCE = 65_536


def query_scores(task: Any, qrels: Qrels, run: Run, metric: str) -> dict[str, float] | None:
    """Query -> its score; None for a metric other than nDCG, MAP, recall, precision, MRR at k.

    `task` is mteb's retrieval task: whether a query's own id, or its first hit, counts is its say.
    """
    import pytrec_eval

    found = re.fullmatch(rf"({_SUBQUERIES})?([a-z]+)_at_(\d+)", metric)
    if found is None or (found[2] not in _MEASURES and found[2] != "mrr"):
        return None
    run = {query: _counted(task, query, hits) for query, hits in run.items()}
    if found[1]:
        qrels, run = _merged(qrels, run)
    if found[2] == "mrr":
        return {q: _reciprocal_rank(qrels[q], run[q], int(found[3])) for q in run if q in qrels}
    measure = _MEASURES[found[2]]
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {f"{measure}.{found[3]}"})
    scores = evaluator.evaluate(run)
    return {query: float(of_it[f"{measure}_{found[3]}"]) for query, of_it in scores.items()}


def _counted(task: Any, query: str, hits: Mapping[str, float]) -> dict[str, float]:
    kept = dict(hits)
    if task.ignore_identical_ids:
        kept.pop(query, None)
    if task.skip_first_result:
        kept = dict(sorted(kept.items(), key=lambda hit: hit[1], reverse=True)[1:])
    return kept


def _merged(qrels: Qrels, run: Run) -> tuple[Qrels, Run]:
    """Queries that are parts of one (`q7_0`, `q7_1`): each document has its best score of them."""
    whole_qrels: dict[str, Mapping[str, int]] = {}
    whole_run: dict[str, dict[str, float]] = {}
    for part in (query for query in qrels if query in run):
        query = part.rpartition("_")[0]
        whole_qrels[query] = qrels[part]
        best = whole_run.setdefault(query, {})
        for document, score in run[part].items():
            best[document] = max(score, best.get(document, score))
    return whole_qrels, whole_run


def _reciprocal_rank(relevant: Mapping[str, int], hits: Mapping[str, float], k: int) -> float:
    """Among equal scores the greater id comes first, as in pytrec_eval."""
    ranked = sorted(hits.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:k]
    ranks = (rank for rank, (document, _) in enumerate(ranked, 1) if relevant.get(document, 0) > 0)
    first = next(ranks, None)
    return 0.0 if first is None else 1.0 / first


def absent_documents(task: Any) -> int:
    """How many documents are judged relevant that the task's corpus does not have; 0 of others.

    As in mteb they count as not found.
    """
    from mteb.abstasks import AbsTaskRetrieval

    if not isinstance(task, AbsTaskRetrieval):
        return 0
    return sum(
        _absent(splits[split])
        for splits in task.dataset.values()
        for split in task.eval_splits
        if split in splits
    )


def _absent(split: Mapping[str, Any]) -> int:
    wanted = {
        document
        for judged in split["relevant_docs"].values()
        for document, score in judged.items()
        if score > 0
    }
    ids = split["corpus"].select_columns(["id"]).with_format(None)
    for start in range(0, len(ids), _IDS_AT_ONCE):
        wanted.difference_update(ids[start : start + _IDS_AT_ONCE]["id"])
    return len(wanted)
