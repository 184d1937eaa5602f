"""`max_texts`: at most so many test rows of a task, for a quick look."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask


def sampled(rows: int, most: int | None, seed: int) -> list[int]:
    """All row numbers, or a seeded sample of `most` of them, in their order."""
    if most is None or rows <= most:
        return list(range(rows))
    return sorted(random.Random(seed).sample(range(rows), most))


def cut_note(most: int | None) -> str:
    """For the revision in a result: it must not pass for one on all of the data."""
    return "" if most is None else f" (at most {most} test rows)"


def shortened(task: AbsTask, most: int | None, seed: int) -> AbsTask:
    """A loaded task of mteb's own with at most `most` test rows, or queries and documents.

    Every relevant and every pre-ranked document of a sampled query stays.
    """
    if most is None:
        return task
    from evaluation.mteb_tasks import parts

    for part in parts(task):
        dataset: Any = part.dataset
        for split in part.eval_splits:
            for holder in [dataset] if split in dataset else list(dataset.values()):
                holder[split] = _cut(holder[split], most, seed)
        place = dict(part.metadata.dataset)
        place["revision"] += cut_note(most)
        part.metadata = part.metadata.model_copy(update={"dataset": place})
    return task


def _cut(rows: Any, most: int, seed: int) -> Any:
    if hasattr(rows, "column_names"):
        return rows.select(sampled(len(rows), most, seed))
    queries = rows["queries"].select(sampled(len(rows["queries"]), most, seed))
    asked = list(queries["id"])
    relevant = {query: rows["relevant_docs"].get(query, {}) for query in asked}
    ranked = rows.get("top_ranked")
    ranked = {query: ranked[query] for query in asked if query in ranked} if ranked else None
    kept = {document for judged in relevant.values() for document in judged}
    kept |= {document for documents in (ranked or {}).values() for document in documents}
    ids = rows["corpus"]["id"]
    others = [i for i, name in enumerate(ids) if name not in kept]
    rest = {others[i] for i in sampled(len(others), most, seed)}
    corpus = rows["corpus"].select([i for i, n in enumerate(ids) if n in kept or i in rest])
    return {**rows, "queries": queries, "relevant_docs": relevant, "top_ranked": ranked,
            "corpus": corpus}  # fmt: skip
