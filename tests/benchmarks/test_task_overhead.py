"""The benchmark of a task's cost, in small: it runs, and no task run is missing."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.long
def test_a_row_a_runner_and_every_task_run_on_record() -> None:
    asked = ("--tasks", "3", "--workers", "2", "--repeats", "1")
    runners = ("--runners", "threads", "processes")
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.task_overhead", *asked, *runners],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines()[-2:]]
    assert [row[0] for row in rows] == ["threads", "processes"]
    for row in rows:
        assert all(float(cell.split()[0]) > 0 for cell in row[1:-1])
        assert re.fullmatch(r"\d, then 7 of 7", row[-1])
