"""Decontamination as stages: the texts of each evaluation task, then all datasets against them."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from artifacts.row import LEAKS
from artifacts.shards import read_table, write_table
from artifacts.store import Artifact, Store
from evaluation.texts import catalog_texts, mteb_texts
from medi_sources.fetch import local_names
from medi_sources.leaks import DecontaminationOptions, EvaluationTexts
from tasks.build import report
from tasks.steps import LeaksStep, TextsStep

_OF_THE_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOENT, errno.EIO}


def _not_the_inputs(task: Any, run: Any, state: State[Any]) -> bool:
    """Retry what the network may have done, not what the disk has."""
    error = state.result(raise_on_failure=False)
    # Those of datasets, of the Hub's client and of sockets.
    return isinstance(error, OSError) and error.errno not in _OF_THE_DISK


@task(
    name="texts",
    task_run_name="texts: {step.spec.dataset}",
    tags=["texts"],
    cache_policy=NO_CACHE,
    retries=2,  # mteb's own tasks come over the network
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_not_the_inputs,
)
def texts(step: TextsStep, store: Store) -> State[Any] | dict[str, Any]:
    return report(_texts(step, store))


@task(
    name="decontaminate",
    task_run_name="decontaminate",
    tags=["decontaminate"],
    cache_policy=NO_CACHE,
)
def decontaminate(
    step: LeaksStep, options: DecontaminationOptions, store: Store
) -> State[Any] | dict[str, Any]:
    return report(_decontaminate(step, options, store))


def _texts(step: TextsStep, store: Store) -> tuple[Artifact, bool]:
    def make(folder: Path) -> Mapping[str, Any]:
        if step.task is None or step.task.location is None or step.data is None:
            found = mteb_texts(step.spec.dataset)
        else:
            data = store.get(step.data.spec)
            found = catalog_texts(
                step.task, [data.file(n) for n in local_names(step.task.location)]
            )
        write_table(pa.table({"text": found}), folder / "texts.parquet")
        return {"texts": len(found)}

    return store.build(step.spec, make)


def _decontaminate(
    step: LeaksStep, options: DecontaminationOptions, store: Store
) -> tuple[Artifact, bool]:
    def make(folder: Path) -> Mapping[str, Any]:
        index = EvaluationTexts(
            {
                each.spec.dataset: read_table(store.get(each.spec).file("texts.parquet"))["text"]
                for each in step.texts
            },
            options,
        )
        found = [
            index.leaks(name, read_table(store.get(spec).file("mined.parquet")))
            for name, spec in step.mined.items()
        ]
        leaks = pa.concat_tables([LEAKS.empty_table(), *found])
        write_table(leaks, folder / "leaks.parquet")
        by_task = Counter(leaks.column("task").to_pylist())
        return {"leaks": leaks.num_rows, "by_task": dict(sorted(by_task.items()))}

    return store.build(step.spec, make)
