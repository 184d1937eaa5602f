"""The orchestration benchmark measures medi's own planning and store, and real peers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from artifacts.store import Store
from benchmarks.orchestration_medi import PROFILE, fields, write_records
from benchmarks.orchestration_runs import ROOT, Cost, cost_of
from flows.planning import BuildPlan, datasets_of, plan_build
from flows.profiles import get_profile, override


def _plan(records: Path, store: Path) -> BuildPlan:
    config = override(get_profile(PROFILE).build, fields(records))
    return plan_build(config, Store.open(str(store)), None)


def test_what_trivial_stages_make_is_what_medi_looks_for(tmp_path: Path) -> None:
    """Else its no-op would be measured on a store that it does not take for whole."""
    records, store, out = tmp_path / "records", tmp_path / "store", tmp_path / "medi"
    write_records(3, records)
    before = _plan(records, store)
    assert len(before.chains) == 3 and len(before.report()["run"]) == 3 * 4 + 1
    fill = [sys.executable, "-m", "benchmarks.orchestration_medi", "fill"]
    subprocess.run([*fill, str(records), str(store), str(out)], cwd=ROOT, check=True)
    assert _plan(records, store).report() == {"run": [], "cached": 3 * 4 + 1}
    assert len(json.loads((out / "manifest.json").read_bytes())["datasets"]) == 3


def test_all_and_only_the_records_are_built(tmp_path: Path) -> None:
    write_records(2, tmp_path / "records")
    config = override(get_profile(PROFILE).build, fields(tmp_path / "records"))
    assert [source.name for source in datasets_of(config)] == ["trivial_00000", "trivial_00001"]


def test_a_cost_is_that_of_the_whole_process_tree(tmp_path: Path) -> None:
    burn = "import time\nheld = bytearray(64 << 20)\nwhile time.process_time() < 0.5: pass"
    below = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    found = cost_of([sys.executable, "-c", below], tmp_path, {}, tmp_path / "log")
    assert found.cpu >= 0.5 and found.wall >= 0.5 and found.memory >= 64


def test_a_command_that_fails_ends_the_benchmark_with_its_words(tmp_path: Path) -> None:
    fails = [sys.executable, "-c", "import sys; sys.exit('no such stage')"]
    with pytest.raises(SystemExit, match="exit status 1:\nno such stage"):
        cost_of(fails, tmp_path, {}, tmp_path / "log")


def test_repeats_are_told_by_their_median_and_spread() -> None:
    found = Cost.median([Cost(3.0, 2.0, 10.0), Cost(1.0, 1.0, 12.0), Cost(2.0, 4.0, 11.0)])
    assert found == Cost(2.0, 2.0, 12.0, (1.0, 3.0))
    assert found.cells() == ["2.0 (1.0-3.0)", "2.0", "12"]


@pytest.mark.long
def test_a_small_run_tells_of_all_three_and_of_a_deployment() -> None:
    """Installs DVC and Snakemake into .venv-peers where they are not there yet."""
    command = [sys.executable, "-m", "benchmarks.orchestration", "--small"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows = re.findall(r"^\| (\w+) \|(.*)\|$", run.stdout, re.M)
    of_three = {name: cells.split("|") for name, cells in rows if cells.count("|") == 10}
    assert of_three.keys() == {"first", "again", "plan"}
    assert all(float(cell) > 0 for cells in of_three.values() for cell in cells[1:3])
    assert re.search(r"^\| again \| 8 \|", run.stdout, re.M)
    (deployed,) = re.findall(r"^\| 1 \|([^|]*)\|([^|]*)\|([^|]*)\|([^|]*)\|$", run.stdout, re.M)
    total, *parts = map(float, deployed)
    assert 0 < sum(parts) <= total
