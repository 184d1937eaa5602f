"""The commands that benchmarks.orchestration runs, each a process tree whose cost is measured."""

from __future__ import annotations

import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks.orchestration_medi import PROFILE, fields

ROOT = Path(__file__).resolve().parents[1]
PEERS = {"dvc": "3.67.1", "snakemake": "9.27.1"}
_FILES = ("source", "fetch", "pairs", "mine", "shards")
_MEDI = (sys.executable, "-c", "from flows.cli import main; main()")
_OURS = (sys.executable, "-m", "benchmarks.orchestration_medi")
_PREFECT = (sys.executable, "-m", "prefect")


@dataclass(frozen=True)
class Cost:
    """Of one command with all its descendants: seconds, CPU seconds, MiB of the largest process."""

    wall: float
    cpu: float
    memory: float
    spread: tuple[float, float] | None = None  # of the wall time, where there were repeats

    @classmethod
    def median(cls, found: Sequence[Cost]) -> Cost:
        walls = [each.wall for each in found]
        return cls(
            statistics.median(walls),
            statistics.median(each.cpu for each in found),
            max(each.memory for each in found),
            (min(walls), max(walls)) if len(found) > 1 else None,
        )

    def cells(self) -> list[str]:
        spread = " ({:.1f}-{:.1f})".format(*self.spread) if self.spread else ""
        return [f"{self.wall:.1f}{spread}", f"{self.cpu:.1f}", f"{self.memory:.0f}"]


def cost_of(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], log: Path
) -> Cost:
    """Run to its end. Its failure ends this program, with the end of what it said."""
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=out, stderr=out
        )
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        said = log.read_text(errors="replace")[-3000:]
        sys.exit(f"{' '.join(command)} failed, exit status {process.returncode}:\n{said}")
    return Cost(wall, used.ru_utime + used.ru_stime, _mib(used))


def _mib(used: resource.struct_rusage) -> float:
    return used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


class Medi:
    """medi with so many trivial records; its server's database is made before anything is timed."""

    def __init__(self, work: Path, records: int, home: Path | None = None) -> None:
        self.records, self.store, self.out = work / "records", work / "store", work / "medi"
        self.home = home or work / "home"
        self._log = work / "log.txt"
        work.mkdir(exist_ok=True)
        self.environment = {
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": "http://127.0.0.1:9/api",  # nobody's: each build starts its own
            "OMP_NUM_THREADS": "1",
        }
        if not self.records.exists():
            self._cost(*_OURS, "records", str(records), str(self.records))
        if not self.home.exists():
            self._cost(*_PREFECT, "server", "database", "upgrade", "-y")

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the flow, for a build of these records."""
        return {
            "profile": PROFILE,
            "publish": str(self.out),
            "store": str(self.store),
            "overrides": {**fields(self.records), "datasets": []},
        }

    def first(self) -> Cost:
        return self._cost(*_OURS, "build", *self._flags(), "--publish", str(self.out))

    def again(self) -> Cost:
        return self._cost(*_MEDI, "build", *self._flags(), "--publish", str(self.out))

    def plan(self) -> Cost:
        return self._cost(*_MEDI, "plan", *self._flags())

    def fill(self) -> None:
        """What `first` makes, without Prefect."""
        self._cost(*_OURS, "fill", str(self.records), str(self.store), str(self.out))

    def _flags(self) -> list[str]:
        of = {"profile": PROFILE, "store": str(self.store), **fields(self.records)}
        return [part for name, value in of.items() for part in (_flag(name), value)]

    def _cost(self, *command: str) -> Cost:
        return cost_of(command, ROOT, self.environment, self._log)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class Dvc:
    """A folder with a dvc.yaml for each dataset."""

    def __init__(self, work: Path, records: int, programs: Path) -> None:
        self._work, self._dvc = work, str(programs / "dvc")
        self._log = work.with_suffix(".log")
        self._environment = {
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(work / ".site"),
            "DVC_GLOBAL_CONFIG_DIR": str(work / ".global"),
        }
        for number in range(records):
            folder = work / f"d{number:05d}"
            folder.mkdir(parents=True)
            (folder / "source.txt").write_text(f"{number}\n", encoding="utf-8")
            stages = [_DVC_STAGE.format(before=a, stage=b) for a, b in pairwise(_FILES)]
            (folder / "dvc.yaml").write_text("stages:\n" + "".join(stages), encoding="utf-8")
        self._cost("init", "--no-scm", "--quiet")

    def first(self) -> Cost:
        return self.again()

    def again(self) -> Cost:
        return self._cost("repro", "--quiet", "--all-pipelines")

    def plan(self) -> Cost:
        return self._cost("status", "--quiet")

    def _cost(self, *command: str) -> Cost:
        return cost_of([self._dvc, *command], self._work, self._environment, self._log)


_DVC_STAGE = """\
  {stage}:
    cmd: cp {before}.txt {stage}.txt
    deps: [{before}.txt]
    outs: [{stage}.txt]
"""


class Snakemake:
    """A Snakefile with a rule for each stage; jobs side by side on all cores."""

    def __init__(self, work: Path, records: int, programs: Path) -> None:
        self._work, self._snakemake = work, str(programs / "snakemake")
        self._log = work.with_suffix(".log")
        self._environment = {"XDG_CACHE_HOME": str(work / ".cache")}
        (work / "source").mkdir(parents=True)
        for number in range(records):
            (work / "source" / f"{number}.txt").write_text(f"{number}\n", encoding="utf-8")
        rules = [_RULE.format(before=a, stage=b) for a, b in pairwise(_FILES)]
        text = _ALL.format(last=_FILES[-1], records=records) + "".join(rules)
        (work / "Snakefile").write_text(text, encoding="utf-8")

    def first(self) -> Cost:
        return self.again()

    def again(self) -> Cost:
        return self._cost("--cores", "all", "--quiet", "all")

    def plan(self) -> Cost:
        return self._cost("--dry-run", "--quiet", "all")

    def _cost(self, *command: str) -> Cost:
        return cost_of([self._snakemake, *command], self._work, self._environment, self._log)


_ALL = """\
rule all:
    input: expand("{last}/{{number}}.txt", number=range({records}))
"""
_RULE = """\
rule {stage}:
    input: "{before}/{{number}}.txt"
    output: "{stage}/{{number}}.txt"
    shell: "cp {{input}} {{output}}"
"""


def install_peers(folder: Path) -> None:
    """A virtual environment with DVC and Snakemake, unless it is there."""
    programs = folder / "bin"
    if all((programs / name).is_file() for name in PEERS):
        return
    print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr, flush=True)
    pins = [f"{name}=={number}" for name, number in PEERS.items()]
    pip = [str(programs / "pip"), "install", "--quiet", "--disable-pip-version-check", *pins]
    for command in ([sys.executable, "-m", "venv", str(folder)], pip):
        subprocess.run(command, check=True)


@dataclass(frozen=True)
class Deployment:
    """Seconds of one `prefect deployment run --watch`, and of its parts."""

    wall: float
    waiting: float  # from the run's creation until the worker starts a process for it
    starting: float  # until the flow begins
    flow: float


def through_deployment(medi: Medi, runs: int) -> list[Deployment]:
    """`runs` no-ops one after the other, under a `medi up` of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    environment = {**medi.environment, "PREFECT_API_URL": url, "PWD": str(ROOT)}
    log = medi.store.parent / "deployment.txt"
    cost_of([*_MEDI, "up", "--detach", "--port", port], ROOT, environment, log)
    try:
        return [_run_deployment(medi, url, environment, log) for _ in range(runs)]
    finally:
        cost_of([*_MEDI, "down"], ROOT, environment, log)


def _run_deployment(medi: Medi, url: str, environment: Mapping[str, str], log: Path) -> Deployment:
    run = [*_PREFECT, "deployment", "run", "build-medi/default", "--watch"]
    for name, value in medi.parameters.items():
        run += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    wall = cost_of(run, ROOT, environment, log).wall
    body = {"sort": "START_TIME_DESC", "limit": 1}
    (found,) = httpx.post(f"{url}/flow_runs/filter", json=body, timeout=30.0).json()
    states = httpx.get(
        f"{url}/flow_run_states/", params={"flow_run_id": found["id"]}, timeout=30.0
    ).json()
    at = {one["type"]: datetime.fromisoformat(one["timestamp"]) for one in states}
    created = datetime.fromisoformat(found["created"])
    return Deployment(
        wall,
        (at["PENDING"] - created).total_seconds(),
        (at["RUNNING"] - at["PENDING"]).total_seconds(),
        (at["COMPLETED"] - at["RUNNING"]).total_seconds(),
    )
