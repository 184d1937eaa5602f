"""How many tasks of a flow run at once, and where: threads of this process, or a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from artifacts.errors import InputError
from tasks.config import BuildConfig


def pool(workers: int) -> TaskRunner[PrefectFuture[Any]]:
    """Threads of this process: tasks pass keys, and what computes lets the interpreter go."""
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
    # Its futures are PrefectFutures, but Prefect declares the type parameter invariant.
    return runner  # type: ignore[return-value]


def ray_cluster(cores: int | None = None) -> TaskRunner[PrefectFuture[Any]]:
    """The cluster at RAY_ADDRESS, else one started on this machine, with its cores or so many.

    Its machines must see the store, the models and the mirror at the same paths. Raises InputError
    where prefect-ray is not installed.
    """
    try:
        from flows.ray_runner import ClusterRunner
    except ImportError as error:
        raise InputError("--runner ray: pip install -c constraints.txt -e '.[ray]'") from error
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    settings = {"include_dashboard": False, "log_to_driver": False, "num_cpus": cores}
    address = os.environ.get("RAY_ADDRESS")
    return ClusterRunner(address=address, init_kwargs={} if address else settings)


def of_build(config: BuildConfig) -> TaskRunner[PrefectFuture[Any]]:
    return ray_cluster() if config.runner == "ray" else pool(config.workers)


def is_used(runner: TaskRunner[PrefectFuture[Any]]) -> bool:
    """Whether the flow run that asks has such a runner: what starts a deployment gives it none."""
    run = FlowRunContext.get()
    return run is not None and run.task_runner == runner


@contextmanager
def a_gpu_each(runner: str) -> Iterator[None]:
    """Tasks submitted within are given a GPU each, on a Ray cluster that has some."""
    if runner != "ray":
        yield
        return
    import ray
    from prefect_ray.context import remote_options

    with remote_options(num_gpus=1 if ray.cluster_resources().get("GPU") else 0):
        yield
