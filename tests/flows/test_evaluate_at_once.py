"""Tasks of one process at the same time, as on a machine of several GPUs, imports and all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from artifacts.models import resolve_model
from artifacts.store import Store
from evaluation.catalog import load_catalog
from evaluation.records import EvaluationOptions
from evaluation.run import Asked, evaluate_task

world, out = Path(sys.argv[1]), Path(sys.argv[2])
model = resolve_model("medi/sample-encoder", world)
tasks = [load_catalog()[name] for name in ("SampleSTS", "SampleClassification", "SampleRetrieval")]

def score(number):
    task = tasks[number % 3]
    files = [world / task.location.mirror_path(file) for file in task.location.files]
    asked = Asked(task, model, None, EvaluationOptions())
    made = evaluate_task(asked, files, out / str(number), Store(out / f"store-{number}"))
    return number % 3, made["score"]

with ThreadPoolExecutor(6) as pool:
    found = set(pool.map(score, range(6)))
print(len(found))
"""


@pytest.mark.slow
def test_six_at_once_score_as_two_of_three_each(tmp_path: Path) -> None:
    from medi_sources.catalog import load_catalog, select
    from medi_sources.sample import write_sample

    write_sample(select(load_catalog(), ["squad_pairs"]), tmp_path / "world")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "world" / "mirror"), str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.splitlines()[-1] == "3"
