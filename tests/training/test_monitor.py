"""A training is watched through a service of the user's choice, and never ended by it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from accelerate import tracking as trackers

from artifacts.errors import InputError
from training import monitor
from training.monitor import numbers, tracking
from training.options import Monitor, TrainingJob, TrainingOptions

RECORDS = [
    {"step": 2, "dataset": "alpha", "loss": 1.5, "losses": {"alpha": 1.75}},
    {"step": 4, "dataset": "beta", "loss": 0.5, "losses": {"beta": 0.25}, "held_out": None},
]
Watched = Callable[[Monitor], TrainingJob]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    def job(name: Monitor) -> TrainingJob:
        options = TrainingOptions(monitor=name, mask=("text", "group"))
        work = tmp_path / "0123abcd"
        return TrainingJob(
            medi=tmp_path, tokens={}, plan=tmp_path, encoder="e", out=tmp_path / "m", work=work,
            options=options,
        )  # fmt: skip

    return job


def test_tensorboard_has_loss_and_losses_by_dataset(watched: Watched) -> None:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    job = watched("tensorboard")
    with tracking(job) as track:
        for record in RECORDS:
            track(record)
    read = event_accumulator.EventAccumulator(str(job.work / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in read.Scalars("loss")] == [(2, 1.5), (4, 0.5)]
    assert [(e.step, e.value) for e in read.Scalars("losses/alpha")] == [(2, 1.75)]
    assert list((job.work / "tensorboard").rglob("hparams.yml"))


class Service(trackers.GeneralTracker):
    """Stands in for W&B, MLflow and trackio."""

    name = "service"
    requires_logging_directory = False
    main_process_only = False
    made: list[Service]

    def __init__(self, **arguments: Any) -> None:
        super().__init__(_blank=True)
        self.arguments = arguments
        self.told: list[Any] = []
        self.made.append(self)

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.told.append(values)

    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.told.append("finished")


class Broken(Service):
    def log(self, values: dict[str, Any], step: int | None = None, **kwargs: Any) -> None:
        raise ConnectionError("no route to host")


def stand_in(service: type[Service], name: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "find_spec", lambda name: ModuleType(name))
    monkeypatch.setitem(trackers.LOGGER_TYPE_TO_CLASS, name, service)
    monkeypatch.setattr(Service, "made", [], raising=False)


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_service_gets_settings_records_and_the_end(
    name: Monitor, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run bears the training's key, so that a second attempt goes on with it."""
    stand_in(Service, name, monkeypatch)
    with tracking(watched(name)) as track:
        for record in RECORDS:
            track(record)
    (made,) = Service.made
    assert "0123abcd" in made.arguments.values()
    settings, first, second, end = made.told
    assert (settings["learning_rate"], settings["encoder"]) == (2e-5, "e")
    assert "monitor" not in settings
    assert all(isinstance(value, int | float | str) for value in settings.values())
    assert first == (2, {"loss": 1.5, "losses/alpha": 1.75})
    assert second == (4, {"loss": 0.5, "losses/beta": 0.25})
    assert end == "finished"


def test_a_service_that_is_away_ends_no_training(
    watched: Watched, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    stand_in(Broken, "wandb", monkeypatch)
    with tracking(watched("wandb")) as track:
        for record in RECORDS:
            track(record)
    said = capfd.readouterr().err
    assert said.count("monitor wandb is left alone") == 1
    assert "no route to host" in said


def test_a_failure_of_the_training_closes_the_monitor(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(Service, "mlflow", monkeypatch)
    with pytest.raises(KeyboardInterrupt), tracking(watched("mlflow")):
        raise KeyboardInterrupt
    assert Service.made[0].told[-1] == "finished"


def test_a_missing_package_is_named(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install trackio"), tracking(watched("trackio")):
        pass


def test_numbers_of_a_record() -> None:
    held_out = {"ndcg_at_10": 0.5, "datasets": {"a": {"rows": 3}}}
    record = {"step": 1, "dataset": "a", "loss": 2.0, "held_out": held_out}
    expected = {"loss": 2.0, "held_out/ndcg_at_10": 0.5, "held_out/datasets/a/rows": 3}
    assert numbers(record) == expected
