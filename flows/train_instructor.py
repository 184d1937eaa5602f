"""train-instructor: from a MEDI folder and a starting encoder to an INSTRUCTOR embedder.

MEDI folder + encoder -> train (DeepSpeed, a process a device) -> sentence-transformers folder
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from artifacts.publish import deliver_folder
from flows.planning_models import plan_train
from flows.profiles import DEFAULT_STORE
from flows.progress import Steps
from tasks.train import train


@flow(name="train-instructor")
def train_instructor(
    medi: str,
    out: str,
    profile: str = "sample",
    encoder: str | None = None,
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: dict[str, Any] | None = None,
) -> State[Any]:
    """Train on the MEDI folder `medi`, starting from `encoder`, and export to `out`."""
    plan = plan_train(medi, out, profile, encoder, mirror, store, overrides or {})
    options = plan.config.options

    with Steps("train-instructor", options.steps) as progress:
        train(
            plan.model,
            plan.medi,
            plan.encoder,
            options,
            plan.store,
            on_record=lambda record: progress.at(record["step"], _line(record)),
        )

    deliver_folder(plan.store.folder(plan.model) / "model", plan.out)
    return Completed(message=f"model {plan.model.key} in {out}", data={"task_runs": 1})


def _line(record: dict[str, Any]) -> str:
    return f"step {record['step']}: loss {record['loss']:.4f} ({record['dataset']})"
