"""train-instructor: from a MEDI folder and a starting encoder to an INSTRUCTOR embedder.

every dataset:  MEDI folder -> tokens                          (only the stale ones)
then:           tokens -> plan -> train (DeepSpeed, a process a device)
then:           train -> the sentence-transformers folder
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from artifacts.publish import deliver_folder
from artifacts.store import Store
from flows.forms import ProfileName, TrainForm, fields_of
from flows.needs import needs_of_training
from flows.planning_training import plan_train
from flows.profiles import DEFAULT_STORE
from flows.progress import Steps
from flows.runner import pool
from tasks import train as tasks
from tasks.steps import Training
from training.launch import TrainingFailed


@flow(name="train-instructor", flow_run_name="{profile}, {medi}", task_runner=pool(2))
def train_instructor(
    medi: str,
    out: str,
    profile: ProfileName = "sample",
    encoder: str | None = None,
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: TrainForm | None = None,
) -> State[Any]:
    """Train on the MEDI folder `medi`, starting from `encoder`, and export to `out`.

    A training that was cut short goes on from its last good checkpoint.
    """
    with Store.open(store).in_use() as need:
        fields = fields_of(overrides)
        training = plan_train(medi, out, profile, encoder, mirror, store, fields)
        need(needs_of_training(training))
        return _train(training, Path(out).absolute())


def _train(training: Training, out: Path) -> State[Any]:
    task_runs = 0
    if training.problem:
        task_runs = tokenise(training) + 1
        if training.store.problem(training.plan):
            tasks.plan(training)
            task_runs += 1
        failed = train(training)
        if failed is not None:
            data = {"failed": {"train": str(failed)}, "task_runs": task_runs}
            return Failed(message=str(failed), data=data)

    deliver_folder(training.store.get(training.model), "model", out)
    message = f"model {training.model.key} in {out}"
    return Completed(message=message, data={"task_runs": task_runs})


def tokenise(training: Training) -> int:
    """Run the stale tokens tasks; how many."""
    at, stale = training, training.stale_tokens
    jobs = [tasks.tokens.submit(spec, at.medi, at.encoder, at.options, at.store) for spec in stale]
    with Steps("tokens", len(stale)) as progress:
        for spec, job in zip(stale, jobs, strict=True):
            job.result()
            progress.done(str(spec))
    return len(jobs)


def train(training: Training) -> TrainingFailed | None:
    """Called, not submitted: a cancelled flow run interrupts this thread, and so the training."""
    with Steps("train-instructor", training.options.steps) as progress:
        state: State[Any] = tasks.train(
            training,
            on_record=lambda record: progress.at(record["step"], tasks.line(record)),
            return_state=True,
        )
    error = state.result(raise_on_failure=False)
    if isinstance(error, TrainingFailed):
        return error
    if isinstance(error, BaseException):
        raise error
    return None
