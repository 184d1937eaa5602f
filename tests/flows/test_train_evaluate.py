"""train-instructor and evaluate-embedder from the command line, on the sample."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import mteb
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

TASKS = ("SampleSTS", "SampleRetrieval")
SAMPLE = ("squad_pairs", "allnli", "task1146_country_capital")  # what `built` builds
OPTIONS = ("--steps", "4", "--log-every", "2")


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
    return medi("train", *folders, *OPTIONS, api=server)


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
    assert (record["base_encoder"], record["step"]) == ("medi/sample-encoder", 4)
    assert record["held_out"]["ndcg_at_10"] > 0
    assert set(record["instructions"]) == {"squad_pairs", "allnli", "task1146_country_capital"}


def test_every_stage_of_a_training_is_on_record(
    trained: subprocess.CompletedProcess[str], prefect_home: Path
) -> None:
    assert trained.returncode == 0, trained.stderr
    database = sqlite3.connect(prefect_home / "prefect.db")
    query = """select t.name, t.state_type from task_run t join flow_run f
               on t.flow_run_id = f.id join flow on f.flow_id = flow.id
               where flow.name = 'train-instructor'"""
    runs = [(n if ": " in n else n.split("-")[0], state) for n, state in database.execute(query)]
    stages = ["plan", "train: medi/sample-encoder", *(f"tokens: {name}" for name in SAMPLE)]
    assert sorted(runs) == sorted((stage, "COMPLETED") for stage in stages)
    keys = {key for (key,) in database.execute("select distinct key from artifact")}
    assert {"train-progress", "training-loss"} <= keys


def test_a_dry_run_says_what_it_would_take(
    trained: subprocess.CompletedProcess[str], store: Path, medi: Run
) -> None:
    """From the tokens and the plan of the training: it makes nothing, and leaves --out alone."""
    assert trained.returncode == 0, trained.stderr
    before = sorted(store.glob("*/*/*"))
    out = store.parent / "nowhere"
    folders = ("--medi", str(store.parent / "medi"), "--out", str(out), "--store", str(store))
    dry = medi("train", *folders, *OPTIONS, "--dry-run", "--tflops", "0.001")
    assert dry.returncode == 0, dry.stderr
    assert sorted(store.glob("*/*/*")) == before and not out.exists()
    (plan,) = [json.loads(path.read_text()) for path in store.glob("plan/model/*/manifest.json")]
    counts = plan["counts"]
    assert f"tokens: {counts['tokens']:,}; {counts['computed_tokens']:,} computed" in dry.stdout
    assert f"padding efficiency {counts['padding_efficiency']:.3f}" in dry.stdout
    assert [line.split()[0] for line in dry.stdout.splitlines() if line.startswith("      ")] == [
        "0", "1", "2", "3",
    ]  # fmt: skip
    assert "hours at 0.001 TFLOP/s a device" in dry.stdout


def test_a_broken_shard_ends_the_training_with_its_name(
    trained: subprocess.CompletedProcess[str], store: Path, medi: Run, server: str, tmp_path: Path
) -> None:
    """One line and status 2, out of a task of the flow."""
    assert trained.returncode == 0, trained.stderr
    folder = shutil.copytree(store.parent / "medi", tmp_path / "medi")
    shard = folder / "data" / "allnli" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-100])
    where = ("--medi", str(folder), "--out", str(tmp_path / "model"), "--store", str(store))
    run = medi("train", *where, *OPTIONS, "--max-length", "64", api=server)
    assert run.returncode == 2, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("medi: ")]
    assert str(shard) in line


def test_an_encoder_without_its_tokenizer_is_refused(
    trained: subprocess.CompletedProcess[str], store: Path, medi: Run, tmp_path: Path
) -> None:
    (world,) = store.glob("sample/world/*/mirror/huggingface.co/medi/sample-encoder")
    encoder = shutil.copytree(world, tmp_path / "encoder")
    for path in encoder.glob("tokenizer*"):
        path.unlink()
    where = ("--medi", str(store.parent / "medi"), "--store", str(store))
    run = medi("train", *where, "--encoder", str(encoder), "--dry-run")
    assert run.returncode == 2, run.stderr
    assert "tokenizer" in run.stderr.splitlines()[-1]


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


def test_a_task_that_cannot_be_had_is_told_and_the_rest_finish(
    evaluated: subprocess.CompletedProcess[str],
    store: Path,
    medi: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert evaluated.returncode == 0, evaluated.stderr
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    model, out = str(store.parent / "model"), tmp_path / "results"
    where = ("--out", str(out), "--store", str(store))
    run = medi("evaluate", model, *where, "--tasks", "BIOSSES", "SampleSTS")
    assert run.returncode == 1
    assert "medi: BIOSSES failed: " in run.stderr and "HF_HUB_OFFLINE is set" in run.stderr
    assert {task["task"] for task in json.loads((out / "scores.json").read_text())["tasks"]} == {
        "SampleSTS"
    }
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "BIOSSES" in page and "HF_HUB_OFFLINE is set" in page


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
