"""What is left of a flow run that is cancelled, and of one whose worker is killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.flows.served import MEDI, PREFECT, ROOT, Served, ended, until

pytestmark = pytest.mark.long
DATASETS = ["squad_pairs", "allnli", "task1146_country_capital"]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Served]:
    at = Served(tmp_path / "home")
    started = at.run(*MEDI, "up", "--detach", "--port", at.port)
    assert started.returncode == 0, started.stderr
    yield at
    assert at.run(*MEDI, "down").returncode == 0


def start(at: Served, flow: str, parameters: dict[str, Any]) -> str:
    """The id of a new run of the deployment of that flow."""
    found = at.get(f"/deployments/name/{flow}/default")
    asked = {"parameters": parameters}
    return str(at.post(f"/deployments/{found['id']}/create_flow_run", asked)["id"])


def state(at: Served, run: str) -> dict[str, Any]:
    return dict(at.get(f"/flow_runs/{run}")["state"])


def training_processes(at: Served) -> list[psutil.Process]:
    """The launcher and what it started; they say in their command lines what they are."""
    return [one for one in at.processes() if "training.program" in _command(one)]


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def test_a_cancelled_training_leaves_no_process(up: Served, tmp_path: Path) -> None:
    store, medi = str(tmp_path / "store"), str(tmp_path / "medi")
    of_build = {"store": store, "publish": medi, "only": DATASETS[:1]}
    build = start(up, "build-medi", of_build)
    until(lambda: state(up, build)["type"] == "COMPLETED")

    endless = {"steps": 20_000, "log_every": 1, "checkpoint_every": 20_000}
    of_training = {"store": store, "medi": medi, "out": str(tmp_path / "model")}
    run = start(up, "train-instructor", of_training | {"overrides": {"options": endless}})
    until(lambda: any(log.stat().st_size for log in Path(store).glob(".runs/*/log.jsonl")))
    processes = training_processes(up)
    assert len(processes) >= 2
    cancelled = up.run(*PREFECT, "flow-run", "cancel", run)
    assert cancelled.returncode == 0, cancelled.stderr
    until(lambda: state(up, run)["type"] == "CANCELLED")
    until(lambda: all(ended(process) for process in processes))
    assert training_processes(up) == []
    assert not list(Path(store).glob("train/*/*/manifest.json"))


def test_a_worker_that_is_killed_loses_no_artifact_and_its_run_crashes(
    up: Served, tmp_path: Path
) -> None:
    """Nobody is left to say how the run ended; the next one goes on from the store."""
    store = tmp_path / "store"
    of_build = {"store": str(store), "only": DATASETS}
    run = start(up, "build-medi", of_build)
    until(lambda: len(list(store.glob("fetch/*/*/manifest.json"))) >= len(DATASETS))
    supervisor, _, worker, *_ = up.processes()
    killed = [supervisor, worker, *worker.children(recursive=True)]
    for process in killed:
        process.send_signal(signal.SIGKILL)
    until(lambda: all(ended(process) for process in killed))
    assert state(up, run)["type"] == "RUNNING"
    made = {path: path.stat().st_ino for path in store.glob("*/*/*/manifest.json")}
    until(lambda: state(up, run)["type"] == "CRASHED")
    assert "no heartbeat" in state(up, run)["message"]

    command = (*PREFECT, "worker", "start", "--pool", "medi", "--type", "process")
    with subprocess.Popen(
        command, cwd=ROOT, env=up.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as another:
        try:
            again = start(up, "build-medi", of_build)
            until(lambda: state(up, again)["type"] in ("COMPLETED", "FAILED", "CRASHED"))
        finally:
            another.terminate()
    assert state(up, again)["type"] == "COMPLETED"
    assert made and all(path.stat().st_ino == inode for path, inode in made.items())
