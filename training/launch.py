"""Starts a training as its user would on a machine with GPUs: with the `deepspeed` launcher."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from training import monitor, program
from training.nodes import Devices, devices_of
from training.options import TrainingJob, TrainingOptions
from training.plan import Plan

_ROOT = Path(__file__).resolve().parents[1]
_TAIL = 20  # lines of train.log in an error
_POLL = 0.2  # seconds between two looks at the log
_GRACE = 30.0  # seconds in which a launcher of several nodes ends what it started

Record = dict[str, Any]


@dataclass(frozen=True)
class TrainingResult:
    model: Path  # the sentence-transformers folder
    steps: int
    loss_last: float
    log: Path  # log.jsonl, a record every `log_every` steps


class TrainingFailed(RuntimeError):
    """A training that ended before its last step; `retry`: another attempt may go through."""

    def __init__(self, message: str, *, retry: bool) -> None:
        super().__init__(message)
        self.retry = retry


def train(job: TrainingJob, on_progress: Callable[[Record], None]) -> TrainingResult:
    """Trains and exports. `on_progress` gets every record of log.jsonl as it is written.

    Where `job.work` holds checkpoints of the same training it goes on from the last good one.
    The launcher's output is in `job.work`/train.log, that of earlier attempts too. When this call
    ends, by an exception too, no process of the training is left; when this process is killed,
    those of this machine end by themselves. Raises InputError for bad input, TrainingFailed with
    the end of train.log for a training that failed.
    """
    devices = _checked(job)
    job.work.mkdir(parents=True, exist_ok=True)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    for name in ("result.json", "failed.json"):
        (job.work / name).unlink(missing_ok=True)
    (job.work / "job.json").write_text(job.model_dump_json(indent=2) + "\n", encoding="utf-8")
    try:
        with monitor.tracking(job) as track:

            def on_record(record: Record) -> None:
                track(record)
                on_progress(record)

            status = _run(job, devices, on_record)
    finally:
        shutil.rmtree(job.partial, ignore_errors=True)
    result = job.work / "result.json"
    # A launcher whose child was killed by a signal ends with status 0, so status is not enough.
    if status != 0 or not result.is_file():
        raise failure_of(job.work, status)
    told = json.loads(result.read_text(encoding="utf-8"))
    return TrainingResult(job.out, told["steps"], told["loss_last"], job.work / "log.jsonl")


def command(job: TrainingJob, devices: Devices) -> list[str]:
    """The launcher's command line."""
    script = Path(sys.executable).with_name("deepspeed")
    if not script.is_file():
        raise RuntimeError(f"there is no {script}: install this project's dependencies")
    port = _free_port()
    start = [sys.executable, str(script), f"--master_port={port}", "--no_local_rank"]
    told = ["--job", str((job.work / "job.json").absolute())]
    if devices.hosts:
        return [*start, *_over_nodes(job.options, next(iter(devices.hosts)), port), *told]
    # Told a number, the launcher would forget which GPUs are ours and count from 0.
    chosen = devices.accelerator == "cuda" and os.environ.get("CUDA_VISIBLE_DEVICES")
    count = [] if chosen else [f"--num_accelerators={devices.world_size}"]
    here = [f"--hostfile={os.devnull}", *count, "--master_addr=127.0.0.1"]
    return [*start, *here, "--module", "training.program", "--end-with-stdin", *told]


def _over_nodes(options: TrainingOptions, first: str, port: int) -> list[str]:
    """Through ssh and pdsh, or what else reaches the nodes; standard input goes to no rank."""
    hostfile = Path(options.hostfile or os.devnull).absolute()
    where = [f"--hostfile={hostfile}", f"--launcher={options.launcher}", "--force_multi"]
    where.append(f"--master_addr={first}")
    match options.launcher:
        case "pdsh":
            return [*where, "--module", "training.program"]
        case "openmpi":
            what = ["--module", "training.program"]
        case "slurm":
            what = [program.__file__]  # DeepSpeed drops --module here
    # These two need no ssh, and tell the ranks nothing of one another.
    return [*where, "--no_ssh_check", *what, "--rendezvous", f"{first}:{port}"]


def _checked(job: TrainingJob) -> Devices:
    if job.out.exists() and (not job.out.is_dir() or any(job.out.iterdir())):
        raise InputError(f"{job.out} exists already: name a new folder, or remove it")
    options, planned = job.options, Plan(job.plan).world_size
    if options.hostfile is None and options.processes is None:
        options = options.model_copy(update={"processes": planned})
    devices = devices_of(options)
    if devices.world_size != planned:
        raise InputError(
            f"training on {devices.world_size} devices, and the plan {job.plan} is for {planned}: "
            "change processes or the hostfile, or make a plan for as many"
        )
    return devices


def _environment(devices: Devices) -> dict[str, str]:
    environment = dict(os.environ)
    paths = [str(_ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    if devices.hosts:
        # A program run by its path would have its own folder searched before the libraries'.
        environment["PYTHONSAFEPATH"] = "1"
        return environment
    environment["DS_ACCELERATOR"] = str(devices.accelerator)
    if devices.accelerator == "cpu":
        threads = max(1, len(os.sched_getaffinity(0)) // devices.world_size)
        environment.setdefault("OMP_NUM_THREADS", str(threads))
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if devices.accelerator == "cuda" and visible:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(visible.split(",")[: devices.world_size])
    return environment


def _run(job: TrainingJob, devices: Devices, on_record: Callable[[Record], None]) -> int:
    with (job.work / "train.log").open("ab") as log:
        # A group of its own, to be killed whole; not a session of its own, so that who ends our
        # session ends it too. Nothing is written to stdin: see training.program.end_with_stdin.
        follow = _Follower(job.work / "log.jsonl", on_record)
        process = subprocess.Popen(
            command(job, devices),
            env=_environment(devices),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
        until = time.monotonic() + (job.options.timeout or math.inf)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_POLL)
                follow()
                if process.returncode is not None:
                    return process.returncode
                if time.monotonic() > until:
                    told = f"not done after {job.options.timeout:g} s (timeout)"
                    raise TrainingFailed(f"{told}: see {job.work / 'train.log'}", retry=True)
        finally:
            end_group(process, _GRACE if devices.hosts else 0.0)


class _Follower:
    """Hands on what is new in log.jsonl: the lines that were not there when it began.

    A training that goes on from a checkpoint first cuts the log back to that step.
    """

    def __init__(self, path: Path, on_record: Callable[[Record], None]) -> None:
        self._path = path
        self._on_record = on_record
        self._looked_at: tuple[int, ...] = ()
        self._seen = set(self._lines())

    def __call__(self) -> None:
        for line in self._lines():
            if line not in self._seen:
                self._seen.add(line)
                self._on_record(json.loads(line))

    def _lines(self) -> list[bytes]:
        """The lines; none where the file is as it was. The last one may be half written."""
        if not self._path.is_file():
            return []
        stat = self._path.stat()
        mark = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if mark == self._looked_at:
            return []
        self._looked_at = mark
        content = self._path.read_bytes()
        return content[: content.rfind(b"\n") + 1].splitlines()


def end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """Ends the process group. A launcher of several nodes first gets `grace` seconds for them."""
    if grace and process.poll() is None:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(timeout=grace)
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdin is not None:
        process.stdin.close()
    process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def failure_of(work: Path, status: int) -> InputError | TrainingFailed:
    """Why the training in `work` failed: what a process wrote to failed.json, or the log's end."""
    failed = work / "failed.json"
    reason = json.loads(failed.read_text(encoding="utf-8")) if failed.is_file() else None
    if reason and reason["bad_input"]:
        return InputError(reason["message"])
    if reason and reason.get("diverged"):
        return TrainingFailed(reason["message"], retry=False)
    log = work / "train.log"
    tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
    message = reason["message"] if reason else f"the launcher ended with status {status}"
    return TrainingFailed("\n".join([f"{message}; the end of {log}:", *tail]), retry=True)
