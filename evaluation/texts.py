"""The texts of evaluation tasks, for decontamination: what must not have been trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from artifacts.errors import InputError, did_you_mean
from evaluation.records import EvalTask, EvaluationOptions

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask

VERSION = 1
_NO_TEXT = frozenset({"id", "_id", "idx", "label", "labels", "label_text", "lang", "score"})


def catalog_texts(task: EvalTask, files: Sequence[Path]) -> pa.Array:
    """Distinct texts of the test rows of a task of our catalog, from its local files."""
    from evaluation.tasks import build_task

    return texts_of(build_task(task, files, EvaluationOptions()))


def mteb_texts(name: str) -> pa.Array:
    """Distinct English texts of the evaluation splits of a task of mteb's, from the Hub."""
    from evaluation.mteb_tasks import parts

    found: dict[str, None] = {}
    for part in parts(_mteb_task(name)):
        part.load_data()
        found |= dict.fromkeys(texts_of(part).to_pylist())
    return pa.array(found, pa.string())


def mteb_data(name: str) -> dict[str, str]:
    """Where the data of a task of mteb's lie: repository -> revision, one for each of its parts.

    Raises InputError for a name that mteb does not know, with the names nearest to it.
    """
    from evaluation.mteb_tasks import data_of

    return data_of(_mteb_task(name))


def texts_of(task: AbsTask) -> pa.Array:
    """Distinct texts of the evaluation splits of a loaded task, in their order.

    Of retrieval tasks these are the queries and the documents judged relevant to one: other
    documents of a corpus are common text, which tells nothing of the test.
    """
    dataset: Any = task.dataset
    splits = set(task.metadata.eval_splits)
    subsets = [dataset] if splits & set(dataset) else list(dataset.values())
    found = (
        text
        for subset in subsets
        for split in sorted(splits & set(subset))
        for text in _split_texts(subset[split])
    )
    return pa.array(dict.fromkeys(found), pa.string())


def _split_texts(split: Any) -> Iterator[str]:
    if not isinstance(split, Mapping):
        yield from _column_texts(split)
        return
    yield from _column_texts(split["queries"])
    relevant = {
        document
        for judged in split["relevant_docs"].values()
        for document, score in judged.items()
        if score > 0
    }
    for row in split["corpus"]:
        if row["id"] in relevant:
            yield row["text"]
            if row.get("title"):
                yield f"{row['title']} {row['text']}"


def _column_texts(rows: Any) -> Iterator[str]:
    for name in rows.column_names:
        if name not in _NO_TEXT:
            for value in rows[name]:
                yield from _strings(value)


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return []


def _mteb_task(name: str) -> AbsTask:
    import mteb

    try:
        return mteb.get_task(name, languages=["eng"], exclusive_language_filter=True)
    except KeyError:
        known = {task.metadata.name for task in mteb.get_tasks(languages=["eng"])}
        hint = did_you_mean(name, known)
        raise InputError(f"no evaluation task {name!r}, neither medi's nor mteb's{hint}") from None
