"""What a task costs that does nothing: threads of a process, processes, a Ray cluster.

    python -m benchmarks.task_overhead                      330 tasks, each runner three times
    python -m benchmarks.task_overhead --tasks 50 --runners threads ray

One Prefect server for all, as `medi build` starts it: SQLite in a home of its own, records written
in batches. Each run is a process of its own. Columns:

s to start  until the first tasks, two a worker, have ended: workers import Prefect, once each
ms a task   from then on, from the first task submitted to the last result, by the number of tasks:
            the median of the repeats, then the lowest and the highest
s a run     of the whole process: imports, the flow's own start and end, the cluster
ms CPU      of the process, its children and the server together, by the number of tasks; not that
            of a Ray cluster
on record   task runs that the server has when the flow has ended, and a moment later: the fewest

Two figures of one table can be compared, and only if nothing else ran on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.measure import Figures

ROOT = Path(__file__).resolve().parents[1]
RUNNERS = ("threads", "processes", "ray")


def main() -> None:
    asked = _arguments()
    if asked.step:
        print(json.dumps(_run(asked.step, asked.tasks, asked.workers)))
        return
    _print_header(asked)
    with tempfile.TemporaryDirectory(prefix="medi-overhead-") as home:
        os.environ["PREFECT_HOME"] = home
        os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"  # nobody's: a server of our own
        from flows.server import prefect_server

        with prefect_server():
            for runner in asked.runners:
                found = [_call(runner, asked) for _ in range(asked.repeats)]
                print(_row(runner, found), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=330)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="at once")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--runners", nargs="+", default=RUNNERS, choices=RUNNERS)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    return parser.parse_args()


def _call(runner: str, asked: argparse.Namespace) -> Figures:
    """This program once more, for one flow run. Its failure is this one's."""
    command = [sys.executable, "-m", "benchmarks.task_overhead", "--step", runner]
    command += ["--tasks", str(asked.tasks), "--workers", str(asked.workers)]
    server, before, began = _server(), _cpu(_server()), time.perf_counter()
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        print(run.stderr, file=sys.stderr)
        sys.exit(f"{runner} failed, exit status {run.returncode}")
    figures: Figures = json.loads(run.stdout.splitlines()[-1])
    figures["run_s"] = time.perf_counter() - began
    figures["cpu_s"] += _cpu(server) - before
    return figures


def _server() -> psutil.Process:
    (child,) = psutil.Process().children()
    return child


def _cpu(process: psutil.Process) -> float:
    """Seconds of a process and its children."""
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _run(runner: str, tasks: int, workers: int) -> Figures:
    """One flow run on `runner`, in this process."""
    from prefect import flow

    from benchmarks.trivial import nothing
    from flows.server import wait_until_recorded

    @flow(name=f"overhead-{runner}", task_runner=_runner(runner, workers))
    def overhead() -> Figures:
        from prefect.runtime import flow_run

        def seconds(numbers: range) -> float:
            began = time.perf_counter()
            futures = [nothing.submit(number) for number in numbers]
            given = [future.result() for future in futures]
            assert given == list(numbers), given
            return time.perf_counter() - began

        start = seconds(range(2 * workers))
        return {"start_s": start, "map_s": seconds(range(tasks)), "id": str(flow_run.id)}

    figures = overhead()
    times = os.times()
    url = os.environ["PREFECT_API_URL"]
    runs = tasks + 2 * workers
    counted = [wait_until_recorded(url, figures["id"], wanted) for wanted in (0, runs)]
    return {
        **figures,
        "cpu_s": times.user + times.system + times.children_user + times.children_system,
        "recorded": counted,
        "tasks": tasks,
        "runs": runs,
    }


def _runner(name: str, workers: int) -> Any:
    from prefect.task_runners import ProcessPoolTaskRunner

    from flows.runner import pool, ray_cluster

    if name == "ray":
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        return ray_cluster(workers)
    return pool(workers) if name == "threads" else ProcessPoolTaskRunner(max_workers=workers)


def _print_header(asked: argparse.Namespace) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in ("prefect", "ray"))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    print(f"{datetime.now(UTC):%Y-%m-%d}: {asked.tasks} tasks, {asked.workers} at once")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load before {load}; {packages}\n")
    heads = ("runner", "s to start", "ms a task", "s a run", "ms CPU a task", "on record")
    print(f"| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}", flush=True)


def _row(runner: str, found: Sequence[Figures]) -> str:
    def spread(name: str, scale: float = 1.0, digits: int = 1) -> str:
        values = [each[name] * scale for each in found]
        middle, low, high = statistics.median(values), min(values), max(values)
        return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"

    tasks = found[0]["tasks"]
    first, last = (min(each["recorded"][i] for each in found) for i in (0, 1))
    figures = ("start_s", 1.0), ("map_s", 1000 / tasks), ("run_s", 1.0), ("cpu_s", 1000 / tasks)
    cells = [spread(name, scale) for name, scale in figures]
    return f"| {runner} | {' | '.join(cells)} | {first}, then {last} of {found[0]['runs']} |"


if __name__ == "__main__":
    main()
