"""Runs trainings in processes of their own, and looks at what they left behind."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from training.encoder import encoder_of
from training.options import TrainingJob
from training.program import report_failure


def run(
    server: ForkServerContext, job: TrainingJob, patch: Callable[[int], None] | None = None
) -> list[int | None]:
    """Exit codes of a process for each device of the job; `patch(rank)` comes first in each.

    When one has failed the others are killed, as the launcher does.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    port, world_size = free_port(), job.options.processes or 1
    arguments = (job.model_dump_json(), world_size, port, patch)
    ranks = [server.Process(target=_rank, args=(rank, *arguments)) for rank in range(world_size)]
    for process in ranks:
        process.start()
    running = {process.sentinel: process for process in ranks}
    while running:
        for sentinel in wait(list(running)):
            ended = running.pop(sentinel)  # type: ignore[call-overload]
            ended.join()
            for process in running.values() if ended.exitcode else ():
                process.kill()
    return [process.exitcode for process in ranks]


def _rank(
    rank: int, job: str, world_size: int, port: int, patch: Callable[[int], None] | None
) -> None:
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    torch.set_num_threads(1)
    from training.loop import run as run_job

    if patch is not None:
        patch(rank)
    given = TrainingJob.model_validate_json(job)
    try:
        run_job(given)
    except Exception as error:
        report_failure(given.work, error)
        os._exit(1)


@dataclass(frozen=True)
class KillAt:
    """SIGKILL in the process of `rank`, instead of its `call`-th call of the function."""

    module: str
    function: str
    call: int
    rank: int = 0

    def __call__(self, rank: int) -> None:
        module = importlib.import_module(self.module)
        original, calls = getattr(module, self.function), itertools.count(1)

        def call(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == self.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        if rank == self.rank:
            setattr(module, self.function, call)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def records(job: TrainingJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.work / "log.jsonl").read_text().splitlines()]


def assert_equals_plain(
    job: TrainingJob, weights: dict[str, torch.Tensor], numbers: Sequence[tuple[float, float]]
) -> None:
    """As the plain loop in conftest gives them. The log has a record of every step."""
    logged = [(record["loss"], record["grad_norm"]) for record in records(job)]
    torch.testing.assert_close(torch.tensor(logged), torch.tensor(numbers), rtol=1e-3, atol=1e-4)
    ours = exported_weights(job)
    for name, weight in weights.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=2e-5)


def files_of(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def exported_weights(job: TrainingJob) -> dict[str, torch.Tensor]:
    """Under the names that training.encoder.Encoder gives them."""
    parts = SentenceTransformer(str(job.out), device="cpu")
    return dict(encoder_of(parts).named_parameters())


def steps_of(job: TrainingJob) -> list[int]:
    """Of the checkpoints."""
    folders = (job.work / "checkpoints").glob("step-*")
    return sorted(int(folder.name.removeprefix("step-")) for folder in folders)
