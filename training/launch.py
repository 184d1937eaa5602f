"""Starts a training as its user would on a machine with GPUs: with the `deepspeed` launcher."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from training.data import dataset_folders
from training.options import TrainingJob, TrainingOptions

_TAIL = 20  # lines of train.log in an error
_POLL = 0.2  # seconds between two looks at the log


@dataclass(frozen=True)
class TrainingResult:
    model: Path  # the sentence-transformers folder
    steps: int
    loss_last: float
    log: Path  # log.jsonl, a record every `log_every` steps


def train(job: TrainingJob, on_progress: Callable[[dict[str, Any]], None]) -> TrainingResult:
    """Trains and exports. `on_progress` gets every record of log.jsonl as it is written.

    The launcher's output is in `job.work`/train.log. When this call ends, by an exception too, no
    process of the training is left; when this process is killed, they end by themselves.
    Raises InputError for bad input, RuntimeError with the end of train.log for a failed training.
    """
    _check(job)
    job.work.mkdir(parents=True, exist_ok=True)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    for name in ("log.jsonl", "result.json", "failed.json"):
        (job.work / name).unlink(missing_ok=True)
    (job.work / "job.json").write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")
    try:
        status = _run(job, on_progress)
    finally:
        shutil.rmtree(job.partial, ignore_errors=True)
    result = job.work / "result.json"
    # A launcher whose child was killed by a signal ends with status 0, so status is not enough.
    if status != 0 or not result.is_file():
        raise failure_of(job.work, status)
    return TrainingResult(job.out, log=job.work / "log.jsonl", **json.loads(result.read_text()))


def command(job: TrainingJob, devices: int | None) -> list[str]:
    """The launcher's command line; `devices` null lets it take every device it sees."""
    script = Path(sys.executable).with_name("deepspeed")
    if not script.is_file():
        raise RuntimeError(f"there is no {script}: install this project's dependencies")
    count = [] if devices is None else [f"--num_accelerators={devices}"]
    return [
        *[sys.executable, str(script), f"--hostfile={os.devnull}", *count],
        *["--master_addr=127.0.0.1", f"--master_port={_free_port()}", "--no_local_rank"],
        *["--module", "training.program", "--end-with-stdin"],
        *["--job", str((job.work / "job.json").absolute())],
    ]


def _check(job: TrainingJob) -> None:
    dataset_folders(job.medi)
    if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise InputError(f"{job.out} exists already: name a new folder, or remove it")


def _run(job: TrainingJob, on_progress: Callable[[dict[str, Any]], None]) -> int:
    devices, environment = _devices(job.options)
    with (job.work / "train.log").open("wb") as log:
        # A group of its own, to be killed whole; not a session of its own, so that who ends our
        # session ends it too. Nothing is written to stdin: see training.program.end_with_stdin.
        process = subprocess.Popen(
            command(job, devices),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        try:
            return _follow(process, job.work / "log.jsonl", on_progress)
        finally:
            _kill(process)


def _follow(
    process: subprocess.Popen[bytes], log: Path, on_progress: Callable[[dict[str, Any]], None]
) -> int:
    read = 0
    while True:
        try:
            status: int | None = process.wait(timeout=_POLL)
        except subprocess.TimeoutExpired:
            status = None
        new = log.read_bytes()[read:] if log.is_file() else b""
        whole = new[: new.rfind(b"\n") + 1]  # the last line may be half written
        read += len(whole)
        for line in whole.splitlines():
            on_progress(json.loads(line))
        if status is not None:
            return status


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    process.wait()


def _devices(options: TrainingOptions) -> tuple[int | None, dict[str, str]]:
    """How many devices to ask the launcher for, and the environment it runs in."""
    environment = dict(os.environ)
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    gpus = 0 if options.device == "cpu" else _gpus()
    if options.device == "cpu" or (options.device == "auto" and gpus == 0):
        count = options.processes or 1
        threads = max(1, len(os.sched_getaffinity(0)) // count)
        environment.setdefault("OMP_NUM_THREADS", str(threads))
        return count, {**environment, "DS_ACCELERATOR": "cpu"}
    wanted = options.processes or gpus
    if gpus == 0 or wanted > gpus:
        raise InputError(f"training asks for {wanted or 'all'} GPUs, this machine has {gpus}")
    environment["DS_ACCELERATOR"] = "cuda"
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible:
        # Told a number, the launcher would forget which GPUs are ours and count from 0.
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[:wanted])
        return None, environment
    return wanted, environment


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failure_of(work: Path, status: int) -> Exception:
    """Why the training in `work` failed: what a process wrote to failed.json, or the log's end."""
    failed = work / "failed.json"
    reason = json.loads(failed.read_text()) if failed.is_file() else None
    if reason and reason["bad_input"]:
        return InputError(reason["message"])
    log = work / "train.log"
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    message = reason["message"] if reason else f"the launcher ended with status {status}"
    return RuntimeError("\n".join([f"{message}; the end of {log}:", *tail]))
