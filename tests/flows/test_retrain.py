"""retrain: trains when what it reads has changed, and only then."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_nothing_is_trained_on_a_build_with_failed_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import retrain

    monkeypatch.setattr(retrain, "run_build", lambda *_: 1)
    monkeypatch.setattr(retrain, "run_train", lambda *_: pytest.fail("trained"))
    state = retrain.retrain.fn(out=str(tmp_path), store=str(tmp_path / "store"))
    assert state.is_failed() and "could not be built" in str(state.message)


@pytest.mark.long
def test_it_trains_again_when_the_dataset_has_changed(
    built: subprocess.CompletedProcess[str], store: Path, medi: Run, server: str, tmp_path: Path
) -> None:
    assert built.returncode == 0, built.stderr
    out = tmp_path / "out"
    fields = ("--train.steps", "2", "--evaluate.tasks", "[SampleSTS]")
    command = ("retrain", "--out", str(out), "--store", str(store), *fields)
    three = ("--build.datasets", "[squad_pairs, allnli, task1146_country_capital]")
    first = medi(*command, *three, api=server)
    assert first.returncode == 0, first.stderr
    assert f"retrain: trained and evaluated, in {out}" in first.stdout
    assert (out / "medi" / "manifest.json").is_file()
    assert (out / "model" / "medi.json").is_file()
    assert (out / "results" / "report.html").is_file()

    before = _runs(server), sorted(store.glob("*/*/*"))
    again = medi(*command, *three, api=server)
    assert again.returncode == 0, again.stderr
    assert f"retrain: nothing new: {out} is up to date" in again.stdout
    assert (_runs(server), sorted(store.glob("*/*/*"))) == before

    fewer = medi(*command, "--build.datasets", "[squad_pairs, allnli]", api=server)
    assert fewer.returncode == 0, fewer.stderr
    assert f"retrain: trained and evaluated, in {out}" in fewer.stdout


def _runs(server: str) -> int:
    """Flow runs of training and evaluation so far."""
    flows = {"name": {"any_": ["train-instructor", "evaluate-embedder"]}}
    return int(httpx.post(f"{server}/flow_runs/count", json={"flows": flows}, timeout=30).json())
