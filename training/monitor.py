"""Feeds what a training logs to TensorBoard, W&B, MLflow or trackio, by accelerate's trackers.

The launching process does it, out of log.jsonl: the ranks know nothing of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from training.options import RUN_ONLY, Monitor, TrainingJob

PROJECT = "medi"


def require_monitor(monitor: Monitor) -> None:
    """Raises InputError where the package that `monitor` needs is not installed."""
    if monitor != "none" and find_spec(monitor) is None:
        raise InputError(
            f"monitor {monitor!r} needs a package that is not installed: pip install {monitor}, "
            "or set monitor to none"
        )


@contextmanager
def tracking(job: TrainingJob) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Yields what takes the records of log.jsonl.

    TensorBoard's files are in `job.work`/tensorboard; the others go where their own environment
    variables say, as a run named after the folder `job.work`, which a training that is started
    again goes on with (W&B, trackio). A monitor that fails is left alone; the training goes on.
    Raises InputError as `require_monitor` does.
    """
    require_monitor(job.options.monitor)
    if job.options.monitor == "none":
        yield lambda record: None
        return
    feed = _Feed(job)
    try:
        yield feed.record
    finally:
        feed.finish()


class _Feed:
    def __init__(self, job: TrainingJob) -> None:
        self._name = job.options.monitor
        self._tracker: Any = None
        self._try(lambda: self._start(job))

    def record(self, record: Mapping[str, Any]) -> None:
        if self._tracker is not None:
            self._try(lambda: self._tracker.log(numbers(record), step=record["step"]))

    def finish(self) -> None:
        if self._tracker is not None:
            self._try(self._tracker.finish)

    def _start(self, job: TrainingJob) -> None:
        from accelerate import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState(cpu=True)  # accelerate's logger wants one; this process trains nothing
        tracker = LOGGER_TYPE_TO_CLASS[self._name](**_arguments(self._name, job.work))
        tracker.start()
        settings = job.options.model_dump(mode="json", exclude=set(RUN_ONLY))
        told = {name: v if isinstance(v, int | float) else str(v) for name, v in settings.items()}
        tracker.store_init_configuration({"encoder": job.called or job.encoder, **told})
        self._tracker = tracker

    def _try(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # of any kind: a foreign service must not end a training
            self._tracker = None
            reason = f"{type(error).__name__}: {error}"
            print(f"monitor {self._name} is left alone, it failed: {reason}", file=sys.stderr)


def numbers(record: Mapping[str, Any], above: str = "") -> dict[str, float]:
    """The record's numbers but the step; what is nested as `losses/squad_pairs`."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{above}{name}/")
        elif isinstance(value, int | float) and name != "step":
            found[above + name] = value
    return found


def _arguments(monitor: Monitor, work: Path) -> dict[str, Any]:
    """Of accelerate's tracker, which hands most of them on to the service's own init."""
    match monitor:
        case "tensorboard":
            return {"run_name": "tensorboard", "logging_dir": work}
        case "wandb":
            return {"run_name": PROJECT, "name": work.name, "id": work.name, "resume": "allow"}
        case "trackio":
            return {"run_name": PROJECT, "name": work.name, "resume": "allow"}
        case _:
            return {"experiment_name": PROJECT, "run_name": work.name}
