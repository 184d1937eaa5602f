"""Training as one Prefect task: the DeepSpeed launcher as a subprocess, its model an artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from artifacts.keys import Spec
from artifacts.models import ModelRef
from artifacts.store import Store
from tasks.build import report
from tasks.stages import environment_of
from tasks.ui import ProgressBar
from training.launch import train as launch
from training.options import TrainingJob, TrainingOptions


@task(name="train", tags=["train"], cache_policy=NO_CACHE)
def train(
    spec: Spec,
    medi: Path,
    encoder: ModelRef,
    options: TrainingOptions,
    store: Store,
    on_record: Callable[[dict[str, Any]], None],
) -> State[Any] | dict[str, Any]:
    """The artifact's folder `model` is a sentence-transformers folder.

    The logs of a run are not part of it (they hold times): they lie in <store>/.runs/<key>.
    """
    bar = ProgressBar("train-progress", max(1, options.steps // options.log_every))

    def on_progress(record: dict[str, Any]) -> None:
        bar.advance()
        on_record(record)

    def make(folder: Path) -> Mapping[str, Any]:
        job = TrainingJob(
            medi=medi,
            encoder=str(encoder.folder),
            called=encoder.name,
            out=folder / "model",
            work=store.root / ".runs" / spec.key,
            options=options,
        )
        result = launch(job, on_progress)
        return {"steps": result.steps, "loss_last": result.loss_last}

    made = store.build(spec, make, environment_of(options.device, options.precision))
    return report(made)
