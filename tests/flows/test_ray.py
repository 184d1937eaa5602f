"""The tasks of an evaluation on a Ray cluster of two: the same results."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.long
def test_a_ray_cluster_gives_the_same_results(
    medi: Run, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prefect_ray", reason="pip install 'medi[ray]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    found = []
    for runner in ("threads", "ray"):
        out, store = tmp_path / runner, tmp_path / f"store-{runner}"
        where = ("--out", str(out), "--store", str(store), "--runner", runner)
        run = medi("evaluate", "medi/sample-encoder", *where, "--tasks", "SampleSTS",
                   "SampleCaptions", api=server)  # fmt: skip
        assert run.returncode == 0, run.stderr
        paths = [path for path in out.rglob("*.json*") if path.is_file()]
        found.append({path.relative_to(out).as_posix(): path.read_bytes() for path in paths})
    assert found[0] == found[1] and len(found[0]) >= 4
