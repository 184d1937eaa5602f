"""`medi demo`, which `make demo` runs: from nothing to scores."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.long
def test_the_demo_builds_trains_and_gains(medi: Run, tmp_path: Path) -> None:
    run = medi("demo", "--out", str(tmp_path), "--store", str(tmp_path / "store"))
    assert run.returncode == 0, run.stderr
    published = json.loads((tmp_path / "medi" / "manifest.json").read_bytes())
    assert len(published["datasets"]) == 330
    assert (tmp_path / "model" / "modules.json").is_file()
    average = json.loads((tmp_path / "results" / "scores.json").read_bytes())["average"]
    assert average["after"] > average["before"]
