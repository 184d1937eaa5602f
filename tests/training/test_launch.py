"""The whole way through the `deepspeed` launcher, and what is left when it is cut short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from sentence_transformers import SentenceTransformer

from artifacts.errors import InputError
from tests.training_runs import exported_weights, files_of
from training.errors import CheckpointFailed, TrainingDiverged
from training.launch import TrainingFailed, end_group, failure_of, train
from training.options import TrainingJob, TrainingOptions
from training.program import report_failure

Job = Callable[..., TrainingJob]
Run = Callable[[TrainingJob], TrainingJob]
Plain = Callable[[TrainingJob], dict[str, torch.Tensor]]
NodesAt = Callable[[str, str], tuple[Path, Path]]


def with_options(job: TrainingJob, **given: Any) -> TrainingJob:
    """The job, run in another way: on the plan that it has."""
    options = job.options.model_dump() | given
    return job.model_copy(update={"options": TrainingOptions(**options)})


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow
def test_two_processes_without_a_compiler(
    job: Job, plain_weights: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gloo: each device its share of the rows, the gradients averaged. No gcc or ninja in reach,
    from another folder, nothing compiled."""
    for name in ("nothing", "extensions", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "extensions"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts").write_text("localhost slots=2\n")
    two = job(processes=2, batch_rows=4)
    progress: list[dict[str, Any]] = []
    result = train(with_options(two, hostfile=tmp_path / "hosts", processes=None), progress.append)
    assert list((tmp_path / "extensions").rglob("*")) == []
    assert list((tmp_path / "home").rglob("*.so")) == []
    assert [record["step"] for record in progress] == [1, 2, 3, 4, 5, 6]
    assert (result.steps, result.loss_last) == (6, progress[-1]["loss"])
    assert all(4 < record["rows"] <= 8 for record in progress)
    weights = exported_weights(two)
    for name, weight in plain_weights(two).items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=2e-5)
    assert [path.name for path in two.out.parent.iterdir()].count("model") == 1
    assert SentenceTransformer(str(result.model)).encode("baran").shape == (12,)


@pytest.mark.slow
def test_a_second_attempt_goes_on_from_the_last_checkpoint(job: Job, run_here: Run) -> None:
    """A rank dies of kill -9 somewhere behind step 30; the model is that of an undisturbed run."""
    options: dict[str, Any] = {"steps": 150, "checkpoint_every": 25, "log_every": 5}
    cut_short, whole = job("cut-short", **options), job("whole", **options)

    killed: list[psutil.Process] = []

    def kill(record: dict[str, Any]) -> None:
        if record["step"] > 30 and not killed:
            family = psutil.Process().children(recursive=True)
            killed.extend(rank for rank in family if "training.program" in rank.cmdline()[:4])
            killed[0].kill()

    with pytest.raises(TrainingFailed, match="the launcher ended with status") as failed:
        train(cut_short, kill)
    assert failed.value.retry
    told: list[int] = []
    train(cut_short, lambda record: told.append(record["step"]))
    assert told == sorted(set(told))
    assert (25 < told[0] < 150) and told[-1] == 150
    assert files_of(cut_short.out) == files_of(run_here(whole).out)


@pytest.mark.slow
def test_killed_from_outside_leaves_no_process(job: Job, tmp_path: Path) -> None:
    """kill -9 of the flow's process, in the middle of a training."""
    endless = job(steps=400)
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
            train(job(steps=400), lambda record: None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    after = {process.pid for process in psutil.Process().children(recursive=True)}
    assert after <= before


@pytest.fixture
def nodes_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodesAt:
    """nodes_at(program, script): a hostfile of two nodes, and where the fake `program` writes."""

    def make(program: str, script: str) -> tuple[Path, Path]:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ("ssh", "sinfo", "ompi_info", program):
            text = script if name == program else ""
            (folder / name).write_text(f"#!{sys.executable}\n{text}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
        monkeypatch.setenv("TOLD", str(tmp_path / "told"))
        hostfile = tmp_path / "hosts"
        hostfile.write_text("127.0.0.2 slots=1\n127.0.0.3 slots=1\n")
        return hostfile, tmp_path / "told"

    return make


SRUN = """
import os, subprocess, sys
assert sys.argv[1:3] == ["-n", "2"]
command = sys.argv[1:][[a.startswith("--export") for a in sys.argv[1:]].index(True) + 1 :]
ranks = [
    subprocess.Popen(
        command,
        env=os.environ | {"SLURM_PROCID": n, "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": "0"},
    )
    for n in "01"
]
sys.exit(max([rank.wait() for rank in ranks]))
"""
TELL = """
import os, pathlib, signal, sys, time

def end(number, frame):
    pathlib.Path(os.environ["TOLD"]).with_suffix(".ended").touch()
    sys.exit(1)

signal.signal(signal.SIGTERM, end)
pathlib.Path(os.environ["TOLD"]).write_text(" ".join(sys.argv[1:]))
while "WAIT" in os.environ:
    time.sleep(0.1)  # a signal that comes right before a long sleep is heard at its end
sys.exit(3)
"""


@pytest.mark.slow
def test_slurm_starts_the_ranks(job: Job, nodes_at: NodesAt, plain_weights: Plain) -> None:
    """A stand-in for srun runs both nodes here; all else is as it would be there."""
    hostfile, _ = nodes_at("srun", SRUN)
    two = job(processes=2, batch_rows=4)
    train(with_options(two, hostfile=hostfile, launcher="slurm", processes=None), print)
    weights = exported_weights(two)
    for name, weight in plain_weights(two).items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    ("launcher", "program", "parts"),
    [
        ("pdsh", "pdsh", ["-w 127.0.0.2,127.0.0.3", "--module --no_local_rank"]),
        ("openmpi", "mpirun", ["-n 2 -hostfile {hosts}", "--rendezvous 127.0.0.2:"]),
    ],
)
def test_other_launchers_are_told_the_program(
    launcher: str, program: str, parts: list[str], job: Job, nodes_at: NodesAt
) -> None:
    """DeepSpeed's own command line, as it reaches the last program. No rank waits for stdin."""
    hostfile, told = nodes_at(program, TELL)
    two = job(processes=2)
    with pytest.raises(TrainingFailed, match="status 3"):
        train(with_options(two, hostfile=hostfile, launcher=launcher, processes=None), print)
    said = told.read_text()
    for part in [*parts, " training.program ", f"--job {two.work / 'job.json'}"]:
        assert part.format(hosts=hostfile) in said
    assert "--end-with-stdin" not in said


def test_bad_input_is_told_without_a_launch(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.nodes.gpu_count", lambda: 0)
    monkeypatch.setattr("training.monitor.find_spec", lambda name: None)
    taken = job()
    taken.out.mkdir(parents=True)
    (taken.out / "model.safetensors").touch()
    with pytest.raises(InputError, match="exists already"):
        train(taken, lambda record: None)
    with pytest.raises(InputError, match="GPUs, this machine has"):
        train(with_options(job("gpus"), device="cuda"), print)
    with pytest.raises(InputError, match=r"training on 2 devices, and the plan .* is for 1"):
        train(with_options(job("more"), processes=2), print)
    with pytest.raises(InputError, match="pip install trackio"):
        train(with_options(job("watched"), monitor="trackio"), print)


def test_a_failure_keeps_its_reason(tmp_path: Path) -> None:
    """The first process to fail names the cause; bad input stays bad input (exit status 2)."""
    (tmp_path / "train.log").write_text("first\nlast\n")
    assert "ended with status 9" in str(failure_of(tmp_path, 9))
    report_failure(tmp_path, CheckpointFailed("no space left at step 3"))
    report_failure(tmp_path, RuntimeError("connection closed by peer"))
    failure = failure_of(tmp_path, 1)
    assert isinstance(failure, TrainingFailed) and failure.retry
    assert str(failure).startswith("no space left at step 3; the end of")
    assert str(failure).endswith("first\nlast")
    (tmp_path / "failed.json").unlink()
    report_failure(tmp_path, InputError("cannot load the encoder"))
    assert isinstance(failure_of(tmp_path, 1), InputError)
    (tmp_path / "failed.json").unlink()
    report_failure(tmp_path, TrainingDiverged(3, "alpha", [7, 5], float("nan"), 1.0))
    failure = failure_of(tmp_path, 1)
    assert isinstance(failure, TrainingFailed) and not failure.retry
    assert "step 3" in str(failure) and "row_id [7, 5]" in str(failure)


def test_nodes_are_ended_by_their_launcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 of pdsh or mpirun would leave the processes of other machines alive."""
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))
    monkeypatch.setenv("WAIT", "")
    for grace, asked in ((0.0, False), (60.0, True)):
        (tmp_path / "told").unlink(missing_ok=True)
        process = subprocess.Popen([sys.executable, "-c", TELL], process_group=0)
        while not (tmp_path / "told").exists():
            assert process.poll() is None
        end_group(process, grace)
        assert process.returncode == (1 if asked else -signal.SIGKILL)
        assert (tmp_path / "told.ended").exists() == asked
