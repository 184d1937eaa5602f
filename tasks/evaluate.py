"""Evaluation as Prefect tasks: one run a model and task, its result file an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from artifacts.store import Store
from evaluation.records import EvaluationOptions
from evaluation.run import evaluate_task
from medi_sources.fetch import local_names
from tasks.build import report
from tasks.stages import device, environment_of
from tasks.steps import Score


@task(
    name="evaluate",
    task_run_name="evaluate: {score.task.name} ({score.label})",
    tags=["evaluate"],
    cache_policy=NO_CACHE,
)
def evaluate(score: Score, options: EvaluationOptions, store: Store) -> State[Any] | dict[str, Any]:
    """One task on one model; the artifact has mteb's results layout."""

    def make(folder: Path) -> Mapping[str, Any]:
        raw = store.get(score.data)
        files = [raw.file(name) for name in local_names(score.task.location)]
        with device:
            return evaluate_task(score.task, files, score.model, folder, options)

    return report(store.build(score.result, make, environment_of(options.device, "fp32")))
