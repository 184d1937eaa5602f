"""The task of benchmarks.task_overhead: processes and Ray workers import it by name."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE


@task(name="nothing", cache_policy=NO_CACHE)
def nothing(number: int) -> int:
    return number
