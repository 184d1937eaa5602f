"""A Ray cluster as task runner. Imports Ray: of flows, only flows.runner asks for it."""

from __future__ import annotations

from typing import Any

import ray
from prefect_ray import RayTaskRunner
from prefect_ray.context import RemoteOptionsContext, remote_options

# Tasks of build-medi that compute vectors. What else it runs needs a core.
_ENCODING = frozenset({"pairs", "mine"})


class ClusterRunner(RayTaskRunner[Any]):
    """Gives each task that encodes a GPU of its own, on a cluster that has some."""

    def submit(self, task: Any, *arguments: Any, **named: Any) -> Any:
        chosen = RemoteOptionsContext.get().current_remote_options
        if chosen or task.name not in _ENCODING or not ray.cluster_resources().get("GPU"):
            return super().submit(task, *arguments, **named)
        with remote_options(num_gpus=1):
            return super().submit(task, *arguments, **named)
