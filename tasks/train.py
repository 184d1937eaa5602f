"""Training as Prefect tasks: the tokens of each dataset, the plan, and the model itself, which
the DeepSpeed launcher trains as a subprocess."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from artifacts.keys import Spec
from artifacts.models import ModelRef
from artifacts.store import Store
from tasks import train_stages as stages
from tasks import ui
from tasks.build import report
from tasks.steps import Training
from training.launch import TrainingFailed
from training.options import TrainingOptions


def _may_go_through(task: Any, run: Any, state: State[Any]) -> bool:
    """Retry a machine's failure; bad input and a loss that is no number stay what they are."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, TrainingFailed) and error.retry


@task(name="tokens", task_run_name="tokens: {spec.dataset}", tags=["tokens"], cache_policy=NO_CACHE)
def tokens(
    spec: Spec, medi: Path, encoder: ModelRef, options: TrainingOptions, store: Store
) -> State[Any] | dict[str, Any]:
    ui.tag(spec.dataset)
    return report(stages.tokens(spec, medi, encoder, options, store))


@task(name="plan", task_run_name="plan", tags=["plan"], cache_policy=NO_CACHE)
def plan(training: Training) -> State[Any] | dict[str, Any]:
    return report(stages.plan(training))


@task(
    name="train",
    task_run_name="train: {training.encoder.name}",
    tags=["train"],
    cache_policy=NO_CACHE,
    retries=2,  # each goes on from the last good checkpoint
    retry_delay_seconds=10,
    retry_condition_fn=_may_go_through,
)
def train(
    training: Training, on_record: Callable[[dict[str, Any]], None]
) -> State[Any] | dict[str, Any]:
    """`on_record` gets each record of the training's log; the UI gets progress, log and losses."""
    bar = ui.ProgressBar("train-progress", training.options.steps)
    log = get_run_logger()
    records: list[dict[str, Any]] = []

    def on_progress(record: dict[str, Any]) -> None:
        records.append(record)
        bar.at(record["step"])
        log.info(line(record))
        on_record(record)

    try:
        return report(stages.model(training, on_progress))
    finally:
        if records:
            ui.show_training(records, f"{training.model.key}, from {training.encoder.name}")


def line(record: dict[str, Any]) -> str:
    return f"step {record['step']}: loss {record['loss']:.4f} ({record['dataset']})"
