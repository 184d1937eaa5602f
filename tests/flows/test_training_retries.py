"""A training is tried again where that can help, and what it logs is in the UI."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.models import ModelRef
from artifacts.store import Store
from tasks import train_stages
from tasks.steps import Training
from training.launch import TrainingFailed, TrainingResult
from training.options import TrainingJob, TrainingOptions

RECORD = {"step": 2, "dataset": "alpha", "loss": 0.123456, "losses": {"alpha": 1.0}}


@pytest.fixture
def training(tmp_path: Path) -> Training:
    store = Store(tmp_path / "store")
    plan = Spec("plan", "model", 1, {})
    store.build(plan, lambda folder: {})
    options = TrainingOptions(steps=4, device="cpu")
    encoder = ModelRef("someone/encoder", tmp_path, "0123")
    model = Spec("train", "model", 1, {"name": tmp_path.name})
    return Training(store, tmp_path, encoder, options, 1, {}, plan, model)


@pytest.mark.parametrize(
    ("error", "state", "attempts"),
    [
        (TrainingFailed("a device was lost", retry=True), "COMPLETED", 2),
        (TrainingFailed("the loss is no number", retry=False), "FAILED", 1),
        (InputError("no such option"), "FAILED", 1),
    ],
)
def test_a_training_goes_on_where_another_attempt_can_help(
    error: Exception,
    state: str,
    attempts: int,
    training: Training,
    server: str,
    prefect_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each attempt has the same folder of checkpoints; a training that is done needs none."""
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.train import train

    works: list[Path] = []

    def launch(job: TrainingJob, on_record: Callable[[dict[str, Any]], None]) -> TrainingResult:
        works.append(job.work)
        (job.work / "checkpoints").mkdir(parents=True, exist_ok=True)
        on_record(RECORD)
        if len(works) == 1:
            raise error
        job.out.mkdir()
        (job.out / "medi.json").write_text("{}")
        return TrainingResult(job.out, 4, 0.5, job.work / "log.jsonl")

    monkeypatch.setattr(train_stages, "launch", launch)
    at_once = train.with_options(retry_delay_seconds=0)
    told: list[dict[str, Any]] = []

    @flow
    def training_once() -> Any:
        return at_once(training, told.append, return_state=True)

    with temporary_settings({PREFECT_API_URL: server}):
        ended = training_once(return_state=True)
    assert ended.type.value == state
    assert works == [training.store.root / ".runs" / training.model.key] * attempts
    assert told == [RECORD] * attempts
    assert (works[0] / "checkpoints").exists() == (state == "FAILED")
    assert (training.store.find(training.model) is None) == (state == "FAILED")
    database = sqlite3.connect(prefect_home / "prefect.db")
    query = "select data from artifact where key = 'training-loss' and description like ?"
    shown = database.execute(query, [f"{training.model.key}%"]).fetchall()
    assert len(shown) == attempts
    assert "0.12346" in shown[0][0]
