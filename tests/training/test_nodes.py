"""How many devices a training has, and what is said where that cannot be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError
from training import nodes, ranks
from training.nodes import Devices, devices_of
from training.options import TrainingOptions


def on(gpus: int, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Devices:
    monkeypatch.setattr(nodes, "gpu_count", lambda: gpus)
    return devices_of(TrainingOptions(**options))


@pytest.fixture
def hostfile(tmp_path: Path) -> Path:
    return tmp_path / "hosts"


@pytest.mark.parametrize(
    ("gpus", "options", "expected"),
    [
        (0, {}, Devices(1, "cpu", {})),
        (0, {"processes": 3}, Devices(3, "cpu", {})),
        (4, {}, Devices(4, "cuda", {})),
        (4, {"processes": 2}, Devices(2, "cuda", {})),
        (4, {"device": "cpu"}, Devices(1, "cpu", {})),
    ],
)
def test_devices_of_this_machine(
    gpus: int, options: dict[str, Any], expected: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on(gpus, monkeypatch, **options) == expected


@pytest.mark.parametrize(
    ("gpus", "options"),
    [
        (0, {"device": "cuda"}),
        (2, {"processes": 3}),
        (2, {"device": "cuda", "processes": 3}),
    ],
)
def test_more_gpus_than_there_are(
    gpus: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=f"this machine has {gpus}"):
        on(gpus, monkeypatch, **options)


def test_a_hostfile_says_how_many(hostfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments and empty lines are DeepSpeed's; ranks go in the order of the lines."""
    hostfile.write_text("# ours\nworker-1 slots=8\n\nworker-0   slots=4\n")
    devices = on(0, monkeypatch, hostfile=hostfile)
    assert devices == Devices(12, None, {"worker-1": 8, "worker-0": 4})
    assert list(devices.hosts) == ["worker-1", "worker-0"]
    hostfile.write_text("localhost slots=2\n")
    assert on(0, monkeypatch, hostfile=hostfile) == Devices(2, "cpu", {})
    assert on(4, monkeypatch, hostfile=hostfile) == Devices(2, "cuda", {})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("worker-0\n", "line 1 is no entry: 'worker-0'"),
        ("worker-0 slots=0\n", "line 1 is no entry"),
        ("a slots=1\n#\na slots=2\n", "line 3 names a host twice"),
        ("localhost slots=1\nworker-1 slots=1\n", "cannot reach localhost"),
    ],
)
def test_a_bad_hostfile_names_the_line(hostfile: Path, text: str, said: str) -> None:
    hostfile.write_text(text)
    with pytest.raises(InputError, match=said):
        devices_of(TrainingOptions(hostfile=hostfile))


def test_a_hostfile_that_is_missing_or_says_otherwise(hostfile: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        devices_of(TrainingOptions(hostfile=hostfile))
    hostfile.write_text("a slots=1\nb slots=1\n")
    with pytest.raises(InputError, match=r"processes is 3, and .* has 2 slots"):
        devices_of(TrainingOptions(hostfile=hostfile, processes=3))


@pytest.mark.parametrize(
    "theirs",
    [
        ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
        ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
    ],
)
def test_a_rank_is_told_by_what_started_it(
    theirs: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        # set, then taken away, so that what adopt sets is taken away after the test
        monkeypatch.setenv(name, "")
        del os.environ[name]
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    with pytest.raises(RuntimeError, match="has no RANK"):
        ranks.adopt("worker-0:2345", "auto")
    for name, value in zip(theirs, ("3", "4", "1"), strict=True):
        monkeypatch.setenv(name, value)
    ranks.adopt("worker-0:2345", "auto")
    told = {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    assert told == {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("worker-0", "2345")
