"""mteb's own tasks: from a catalog record to mteb's task object, and the records of the 56.

    python -m evaluation.mteb_tasks > evaluation/catalog/mteb.yaml

writes the records as the installed mteb has the tasks: where their data lie, at which revision.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from artifacts.errors import DatasetError, InputError
from evaluation.paper import MTEB_56
from evaluation.records import CATEGORIES

if TYPE_CHECKING:
    from mteb.abstasks.abstask import AbsTask

_BENCHMARK = "MTEB(eng, v1)"
_CATEGORY = {"PairClassification": "Pair Classification"}
_SEEN = frozenset({"FEVER", "HotpotQA", "MSMARCO", "NQ"})
_SPDX = {
    "apache-2.0": "Apache-2.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "cc-by-nc-sa-3.0": "CC-BY-NC-SA-3.0",
    "cc-by-nc-sa-4.0": "CC-BY-NC-SA-4.0",
    "cc-by-sa-3.0": "CC-BY-SA-3.0",
    "cc-by-sa-4.0": "CC-BY-SA-4.0",
    "cc0-1.0": "CC0-1.0",
    "mit": "MIT",
}


class DataNotHad(DatasetError):
    """A task's data did not come; another attempt may get them."""


@lru_cache(maxsize=1)
def _benchmark() -> Mapping[str, AbsTask]:
    import mteb

    return {task.metadata.name: task for task in mteb.get_benchmark(_BENCHMARK).tasks}


def load_mteb_task(name: str, data: Mapping[str, str], seed: int, mirror: Path | None) -> AbsTask:
    """A new object of the benchmark's task `name`, in its languages and splits, its data loaded.

    They come from `<mirror>/huggingface.co/<repository>`, else as `datasets` gets them: from its
    cache or the Hub. Raises InputError where the installed mteb would load other data than `data`
    (repository -> revision), DataNotHad where they are not to be had.
    """
    _require_same_data(name, data)
    task = _new(name, seed)
    for part in parts(task):
        _load(part, mirror)
    return task


def _load(task: AbsTask, mirror: Path | None) -> None:
    from datasets.exceptions import DatasetsError
    from httpx import HTTPError

    metadata = task.metadata
    place = dict(metadata.dataset)
    local = mirror / "huggingface.co" / place["path"] if mirror else None
    if local and local.is_dir():
        place["path"] = str(local)
    try:
        task.metadata = metadata.model_copy(update={"dataset": place})
        task.load_data()
    except (OSError, ValueError, KeyError, RuntimeError, DatasetsError, HTTPError) as error:
        reason = str(error).strip().partition("\n")[0] or "no reason given"
        came = isinstance(error, OSError | DatasetsError | HTTPError)
        raise (DataNotHad if came else DatasetError)(
            f"{metadata.name}: {metadata.dataset['path']} at {metadata.dataset['revision'][:12]} "
            f"is not to be had ({type(error).__name__}: {reason}): give a mirror folder that has "
            "it (--mirror), or a network"
        ) from error
    finally:
        # mteb would warn that it has a newer version; the paper's version is what is asked for.
        task.metadata = metadata.model_copy(update={"superseded_by": None})


def _new(name: str, seed: int) -> AbsTask:
    """A task that shares nothing with another: several are evaluated at once in a process."""
    known = _benchmark()[name]
    task = _fresh(known, seed)
    if parts(known) != [known]:
        task.tasks = [_fresh(part, seed) for part in parts(known)]
        task.taskname_to_task = {part.metadata.name: part for part in task.tasks}
        task.metadata = task.metadata.model_copy(update={"tasks": task.tasks})
    return task


def _fresh(known: AbsTask, seed: int) -> Any:
    task = type(known)(seed=seed).filter_eval_splits(known.eval_splits)
    if len(task.hf_subsets) > 1:
        task.filter_languages(None, hf_subsets=known.hf_subsets)
    return with_own_classifier(task)


def with_own_classifier(task: Any) -> Any:
    """mteb keeps one classifier a class, fitted in place: two threads would share it."""
    from sklearn.base import clone

    if hasattr(task, "evaluator_model"):
        task.evaluator_model = clone(task.evaluator_model)
    return task


def parts(task: AbsTask) -> list[AbsTask]:
    """CQADupstack is twelve tasks under one name."""
    return list(getattr(task.metadata, "tasks", None) or [task])


def data_of(task: AbsTask) -> dict[str, str]:
    """Repository -> revision, one of each part."""
    return {
        str(p.metadata.dataset["path"]): str(p.metadata.dataset["revision"]) for p in parts(task)
    }


def _require_same_data(name: str, data: Mapping[str, str]) -> None:
    """InputError where the installed mteb would load other data than the catalog says."""
    found = data_of(_benchmark()[name])
    if found != data:
        raise InputError(
            f"{name}: mteb {version('mteb')} loads {found}, the catalog says {dict(data)}: install "
            "the mteb of constraints.txt, or write evaluation/catalog/mteb.yaml again"
        )


def _record(task: AbsTask) -> dict[str, Any]:
    metadata = task.metadata
    licence = _SPDX.get(metadata.license or "", "unknown")
    return {
        "name": metadata.name,
        "category": _CATEGORY.get(metadata.type, metadata.type),
        "mteb": data_of(task),
        "metric": metadata.main_score,
        "characters": sum(_characters(part, task.eval_splits) for part in parts(task)),
        "licence": licence,
        **({"seen": True} if metadata.name in _SEEN else {}),
        **({} if _symmetric(task) else {"symmetric": False}),
    }


def _symmetric(task: AbsTask) -> bool:
    """All but retrieval, where a query asks for a document of another kind; so does MIND's."""
    name, kind = task.metadata.name, task.metadata.type
    return name == "QuoraRetrieval" or (kind != "Retrieval" and name != "MindSmallReranking")


def _characters(task: AbsTask, splits: list[str]) -> int:
    """Of all texts of the evaluation splits, of the subset that is evaluated."""
    counted: Any = task.metadata.descriptive_stats
    total = 0
    for split in splits:
        found = counted[split]
        subset = found.get("hf_subset_descriptive_stats") or {}
        (name,) = task.hf_subsets[:1]
        total += sum(_lengths(subset.get(name, found)))
    return total


def _lengths(statistics: Mapping[str, Any]) -> Iterator[int]:
    for value in statistics.values():
        if isinstance(value, Mapping) and "total_text_length" in value:
            yield int(value["total_text_length"])


def main() -> None:
    records = sorted(
        (_record(_benchmark()[name]) for name in MTEB_56),
        key=lambda record: (CATEGORIES.index(record["category"]), record["name"]),
    )
    sys.stdout.write(
        "# MTEB(eng, v1), as mteb has it: written by `python -m evaluation.mteb_tasks`.\n\n"
    )
    for record in records:
        sys.stdout.write(yaml.safe_dump([record], sort_keys=False) + "\n")


if __name__ == "__main__":
    main()
