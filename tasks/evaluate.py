"""Evaluation as Prefect tasks: one run a model and task, its result an artifact."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.tasks import exponential_backoff

from artifacts.store import Store
from evaluation.model import device_names
from evaluation.mteb_tasks import DataNotHad
from evaluation.run import evaluate_task
from medi_sources.fetch import local_names
from tasks import devices as machine  # a module: Ray pickles what the task's code names
from tasks.build import report
from tasks.stages import environment_of
from tasks.steps import Score


def _network_trouble(task: Any, run: Any, state: State[Any]) -> bool:
    """mteb's own tasks come over the network."""
    return isinstance(state.result(raise_on_failure=False), DataNotHad)


@task(
    name="evaluate",
    task_run_name="evaluate: {score.task.name} ({score.label})",
    tags=["evaluate"],
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_network_trouble,
)
def evaluate(score: Score, store: Store, mirror: Path | None) -> State[Any] | dict[str, Any]:
    """One task on one model, on one device; the artifact has mteb's results layout."""
    asked = score.asked

    def make(folder: Path) -> Mapping[str, Any]:
        files = []
        if score.data is not None and score.task.location is not None:
            raw = store.get(score.data)
            files = [raw.file(name) for name in local_names(score.task.location)]
        free = partial(machine.devices.any_of, names)
        return evaluate_task(asked, files, folder, store, free, mirror)

    names = device_names(asked.options.device)
    kind = names[0].partition(":")[0]
    return report(store.build(score.result, make, environment_of(kind, "fp32")))
