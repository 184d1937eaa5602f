"""The whole way through the `deepspeed` launcher, and what is left when it is cut short."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from artifacts.errors import InputError
from training.launch import failure_of, train
from training.options import TrainingJob
from training.program import report_failure

Job = Callable[..., TrainingJob]
Plain = Callable[[TrainingJob, int], dict[str, torch.Tensor]]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_one_process_without_a_compiler(
    job: Job,
    run_here: Callable[[TrainingJob], TrainingJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No gcc or ninja in reach, from another folder, nothing compiled; same bytes as in-process."""
    for name in ("nothing", "extensions", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    launched = job("launched")
    progress: list[dict[str, Any]] = []
    result = train(launched, progress.append)
    assert list((tmp_path / "extensions").rglob("*")) == []
    assert list((tmp_path / "home").rglob("*.so")) == []
    assert [record["step"] for record in progress] == [1, 2, 3, 4, 5, 6]
    assert (result.steps, result.loss_last) == (6, progress[-1]["loss"])
    here = run_here(job("here"))
    for name in ("model.safetensors", "2_Dense/model.safetensors", "medi.json", "README.md"):
        assert (result.model / name).read_bytes() == (here.out / name).read_bytes()
    assert SentenceTransformer(str(result.model)).encode("baran").shape == (12,)
    assert [path.name for path in launched.out.parent.iterdir()].count("model") == 1


def test_two_processes_train_one_model(job: Job, plain_weights: Plain) -> None:
    """gloo: each device its share of the rows and its own loss, the gradients averaged."""
    two = job(processes=2, batch_rows=4)
    progress: list[dict[str, Any]] = []
    result = train(two, progress.append)
    weights = load_file(result.model / "model.safetensors")
    weights |= {"dense": load_file(result.model / "2_Dense" / "model.safetensors")["linear.weight"]}
    for name, weight in plain_weights(two, 2).items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=2e-5)
    assert all(4 < record["rows"] <= 8 for record in progress)


def test_killed_from_outside_leaves_no_process(job: Job, tmp_path: Path) -> None:
    """kill -9 of the flow's process, in the middle of a training."""
    endless = job(steps=20_000)
    (tmp_path / "endless.json").write_text(endless.model_dump_json())
    code = """if True:
        import os, pathlib, psutil, signal, sys
        from training.launch import train
        from training.options import TrainingJob

        def die(record):
            family = psutil.Process().children(recursive=True)
            print(*[process.pid for process in family], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        train(TrainingJob.model_validate_json(pathlib.Path(sys.argv[1]).read_text()), die)
    """
    started = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "endless.json")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert started.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in started.stdout.split()]
    assert len(pids) >= 3  # launcher, its child, the device
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    running = [p for p in left if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    _, alive = psutil.wait_procs(running, timeout=60)
    survivors = [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    for process in survivors:
        process.kill()
    assert survivors == []


def test_interrupted_leaves_no_process(job: Job) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {process.pid for process in psutil.Process().children(recursive=True)}
    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(job(steps=20_000), lambda record: None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    after = {process.pid for process in psutil.Process().children(recursive=True)}
    assert after <= before


def test_bad_input_is_told_without_a_launch(job: Job, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no MEDI folder"):
        train(job(medi=tmp_path / "nowhere"), lambda record: None)
    taken = job()
    taken.out.mkdir(parents=True)
    (taken.out / "model.safetensors").touch()
    with pytest.raises(InputError, match="exists already"):
        train(taken, lambda record: None)
    with pytest.raises(InputError, match="GPUs, this machine has"):
        train(job("gpus", device="cuda", processes=4096), lambda record: None)


def test_a_failure_keeps_its_reason(tmp_path: Path) -> None:
    """The first process to fail names the cause; bad input stays bad input (exit status 2)."""
    (tmp_path / "train.log").write_text("first\nlast\n")
    assert "ended with status 9" in str(failure_of(tmp_path, 9))
    report_failure(tmp_path, RuntimeError("stopped at step 3"))
    report_failure(tmp_path, RuntimeError("connection closed by peer"))
    failure = failure_of(tmp_path, 1)
    assert isinstance(failure, RuntimeError)
    assert str(failure).startswith("stopped at step 3; the end of")
    assert str(failure).endswith("first\nlast")
    (tmp_path / "failed.json").unlink()
    report_failure(tmp_path, InputError("cannot load the encoder"))
    assert isinstance(failure_of(tmp_path, 1), InputError)
    assert json.loads((tmp_path / "failed.json").read_text())["bad_input"]
