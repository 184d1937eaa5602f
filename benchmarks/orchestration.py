"""What orchestration costs: medi beside DVC and Snakemake, each with four trivial stages a dataset.

    python -m benchmarks.orchestration                      330 datasets, medi to 3,300: minutes
    python -m benchmarks.orchestration --small              the same in small
    python -m benchmarks.orchestration --write              also a file in benchmarks/results

A stage copies a small file; a dataset's four are chained. medi's are copies in place of its own
stages (benchmarks.orchestration_medi): its planner, store, Prefect tasks with their pages in the
UI, and publishing are as they are, and `medi build` starts and stops its own server. DVC has a
dvc.yaml for each dataset, in a folder of its own: in one file its first run takes time that grows
with the square of the stages. Snakemake has a rule a stage.

    first     all 4 stages of every dataset run
    again     nothing has changed: the no-op
    plan      what would run: `medi plan`, `dvc status`, `snakemake --dry-run`
    through a deployment   the no-op by `prefect deployment run build-medi/default --watch`, under
              `medi up`, from command to exit; "waiting" until the worker starts its process,
              "starting" until the flow begins

Every figure is of the whole command, a process tree of its own: wall seconds; CPU seconds, server
included; memory in MiB of its largest process. The median where there are repeats, with the lowest
and the highest. Of wall time trust nothing while other work runs on the machine.

DVC and Snakemake are installed into a virtual environment of their own (--peers), once: minutes.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

from benchmarks.orchestration_runs import (
    PEERS,
    Cost,
    Deployment,
    Dvc,
    Medi,
    Snakemake,
    install_peers,
    through_deployment,
)

ROOT = Path(__file__).resolve().parents[1]
_COMMANDS = ("first", "again", "plan")


def main() -> None:
    asked = _arguments()
    began = time.perf_counter()
    install_peers(asked.peers)
    with tempfile.TemporaryDirectory(prefix="medi-orchestration-") as folder:
        work = Path(folder)
        lines = _header(asked)
        medi = Medi(work / "medi", asked.records)
        first = medi.first()
        lines += _beside_peers(asked, work, medi, first) + _growth(asked, work, first)
        if asked.deployment_runs:
            lines += _deployment(asked, medi)
    lines.append(f"\nAll of it took {time.perf_counter() - began:.0f} s.")
    print(lines[-1])
    if asked.write:
        path = ROOT / "benchmarks" / "results" / f"orchestration-{time.strftime('%Y-%m-%d')}.md"
        path.write_text("# Orchestration cost\n\n" + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--records", type=int, default=330, help="datasets of all three")
    parser.add_argument("--growth", type=int, nargs="*", default=[1000, 3300], help="of medi alone")
    parser.add_argument(
        "--growth-first", type=int, nargs="*", default=[1], help="first runs of medi alone"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of the no-op and the plan")
    parser.add_argument("--deployment-runs", type=int, default=2, help="0: none")
    parser.add_argument("--small", action="store_true", help="4 datasets, 8 for growth, no repeats")
    parser.add_argument("--peers", type=Path, default=ROOT / ".venv-peers")
    parser.add_argument("--write", action="store_true", help="a file in benchmarks/results, too")
    asked = parser.parse_args()
    if asked.small:
        asked.records, asked.growth, asked.growth_first = 4, [8], []
        asked.repeats, asked.deployment_runs = 1, 1
    return asked


def _header(asked: argparse.Namespace) -> list[str]:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return _said(
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {os.cpu_count()} cores, load before "
        f"{load}; Python {platform.python_version()}, Prefect {version('prefect')}, "
        f"{', '.join(f'{name} {number}' for name, number in PEERS.items())}",
        "",
        f"`{' '.join(['python -m benchmarks.orchestration', *sys.argv[1:]])}`",
    )


def _beside_peers(asked: argparse.Namespace, work: Path, medi: Medi, first: Cost) -> list[str]:
    """The table of the three, one command after the other."""
    lines = _said(
        f"\n## {asked.records} datasets, {4 * asked.records:,} stages\n",
        "ratio: the other's wall time by medi's, above 1 is for medi\n",
        "| | medi s | CPU s | MiB | DVC s | CPU s | MiB | ratio | Snakemake s | CPU s | MiB "
        "| ratio |",
        "|---|" + "---:|" * 11,
    )
    peers = [
        kind(work / kind.__name__, asked.records, asked.peers / "bin") for kind in (Dvc, Snakemake)
    ]
    for command in _COMMANDS:
        repeats = 1 if command == "first" else asked.repeats
        ours = first if command == "first" else Cost.median(_times(repeats, getattr(medi, command)))
        cells = ours.cells()
        for peer in peers:
            theirs = Cost.median(_times(repeats, getattr(peer, command)))
            cells += [*theirs.cells(), f"{theirs.wall / ours.wall:.1f}"]
        lines += _said(f"| {command} | {' | '.join(cells)} |")
    return lines


def _growth(asked: argparse.Namespace, work: Path, first: Cost) -> list[str]:
    """medi alone with more records; what a record more costs, in CPU time and memory."""
    lines = _said(
        "\n## medi, more records\n",
        '"a record" is what each costs beyond those of the line above it: the same in every '
        "line, where time and memory are linear\n",
        "| | records | s | CPU s | MiB | CPU ms a record | KiB a record |",
        "|---|" + "---:|" * 6,
    )
    sizes = sorted({asked.records, *asked.growth})
    others = set(asked.growth_first) - {asked.records}
    built = {count: Medi(work / f"grown-{count}", count, home=work / "home") for count in sizes}
    for medi in built.values():
        medi.fill()
    for command in ("again", "plan"):
        found = [
            (n, Cost.median(_times(asked.repeats, getattr(m, command)))) for n, m in built.items()
        ]
        lines += _said(*_grown(command, found))
    firsts = {n: Medi(work / f"first-{n}", n, home=work / "home").first() for n in others}
    if firsts:
        lines += _said(*_grown("first", sorted({**firsts, asked.records: first}.items())))
    return lines


def _grown(command: str, found: Sequence[tuple[int, Cost]]) -> list[str]:
    lines, before = [], None
    for count, cost in found:
        each = ["", ""]
        if before:
            more = count - before[0]
            cpu, memory = cost.cpu - before[1].cpu, cost.memory - before[1].memory
            each = [f"{1000 * cpu / more:.1f}", f"{1024 * memory / more:.0f}"]
        lines.append(f"| {command} | {count:,} | {' | '.join([*cost.cells(), *each])} |")
        before = count, cost
    return lines


def _deployment(asked: argparse.Namespace, medi: Medi) -> list[str]:
    found: list[Deployment] = through_deployment(medi, asked.deployment_runs)
    lines = _said(
        "\n## The no-op through a deployment\n",
        "| run | from command to exit s | waiting s | starting s | flow s |",
        "|---|" + "---:|" * 4,
    )
    for number, run in enumerate(found, start=1):
        cells = [f"{each:.1f}" for each in (run.wall, run.waiting, run.starting, run.flow)]
        lines += _said(f"| {number} | {' | '.join(cells)} |")
    return lines


def _times(repeats: int, run: Callable[[], Cost]) -> list[Cost]:
    return [run() for _ in range(repeats)]


def _said(*lines: str) -> list[str]:
    print(*lines, sep="\n", flush=True)
    return list(lines)


if __name__ == "__main__":
    main()
