"""How many tasks of a flow run at once."""

from __future__ import annotations

from typing import Any

from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner


def pool(workers: int) -> TaskRunner[PrefectFuture[Any]]:
    """Threads of this process: tasks pass keys, and what computes lets the interpreter go."""
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=workers)
    # Its futures are PrefectFutures, but Prefect declares the type parameter invariant.
    return runner  # type: ignore[return-value]
