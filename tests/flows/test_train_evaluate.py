"""train-instructor and evaluate-embedder from the command line, on the sample."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import mteb
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

TASKS = ("SampleSTS", "SampleRetrieval")


@pytest.fixture(scope="module")
def trained(
    built: subprocess.CompletedProcess[str], store: Path, medi: Run, server: str
) -> subprocess.CompletedProcess[str]:
    assert built.returncode == 0, built.stderr
    return train(medi, store, store.parent / "model", server)


def train(
    medi: Run, store: Path, out: Path, server: str | None
) -> subprocess.CompletedProcess[str]:
    folders = ("--medi", str(store.parent / "medi"), "--out", str(out), "--store", str(store))
    return medi("train", *folders, "--steps", "4", "--log-every", "2", api=server)


@pytest.fixture(scope="module")
def evaluated(
    trained: subprocess.CompletedProcess[str], store: Path, medi: Run, server: str
) -> subprocess.CompletedProcess[str]:
    assert trained.returncode == 0, trained.stderr
    return evaluate(medi, store, store.parent / "results", server)


def evaluate(
    medi: Run, store: Path, out: Path, server: str | None
) -> subprocess.CompletedProcess[str]:
    model = str(store.parent / "model")
    where = ("--out", str(out), "--store", str(store))
    return medi("evaluate", model, *where, "--tasks", *TASKS, api=server)


def test_training_leaves_a_model_and_says_where(
    trained: subprocess.CompletedProcess[str], store: Path
) -> None:
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout == f"model: {store.parent / 'model'}\n"
    record = json.loads((store.parent / "model" / "medi.json").read_text())
    assert (record["base_encoder"], record["steps"]) == ("medi/sample-encoder", 4)
    assert set(record["instructions"]) == {"squad_pairs", "allnli", "task1146_country_capital"}


def test_report_shows_before_and_after_and_mteb_opens_the_results(
    evaluated: subprocess.CompletedProcess[str], store: Path
) -> None:
    assert evaluated.returncode == 0, evaluated.stderr
    out = store.parent / "results"
    scores = json.loads((out / "scores.json").read_text())
    assert {task["task"] for task in scores["tasks"]} == set(TASKS)
    assert scores["models"]["before"]["name"] == "medi/sample-encoder"
    results = mteb.ResultCache(out).load_results()
    by_model = {
        (result.model_name, task.task_name): task.get_score()
        for result in results.model_results
        for task in result.task_results
    }
    for task in scores["tasks"]:
        for side in ("before", "after"):
            name = scores["models"][side]["name"]
            assert by_model[name, task["task"]] == pytest.approx(task[side], abs=1e-6)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert all(f"{100 * task['after']:.2f}" in page for task in scores["tasks"])


def test_a_second_run_trains_and_evaluates_nothing(
    evaluated: subprocess.CompletedProcess[str],
    store: Path,
    medi: Run,
    prefect_home: Path,
    tmp_path: Path,
) -> None:
    """The copies are the same bytes; no server is started, so no run is recorded."""

    def flow_runs() -> int:
        database = sqlite3.connect(prefect_home / "prefect.db")
        return int(database.execute("select count(*) from flow_run").fetchone()[0])

    before = flow_runs()
    assert train(medi, store, tmp_path / "model", None).returncode == 0
    assert evaluate(medi, store, tmp_path / "results", None).returncode == 0
    assert flow_runs() == before
    for name in ("model/model.safetensors", "results/scores.json", "results/report.html"):
        assert (tmp_path / name).read_bytes() == (store.parent / name).read_bytes()
