"""The evaluation benchmarks compare like with like, and print what they measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.evaluation_memory import _anonymous_kib, _Watch
from benchmarks.evaluation_speed import PARTS, ROOT, _EncodingClock, _furthest, _least, _part

WITHOUT = {"MEDI_REAL_DATA": "nowhere", "OMP_NUM_THREADS": "1"}


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, "-m", f"benchmarks.{name}", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **WITHOUT}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(table: str, title: str) -> list[float]:
    line = re.search(rf"^{re.escape(title)} +(.+)$", table, re.M)
    assert line is not None, table
    return [float(cell.replace(",", "")) for cell in re.sub(r"\(.*?\)", "", line[1]).split()]


def test_the_parts_have_each_query_once_and_the_whole_corpus() -> None:
    from datasets import Dataset

    class Task:
        def __init__(self) -> None:
            queries = Dataset.from_dict({"id": [f"q{i}" for i in range(10)]})
            relevant = {f"q{i}": {"d0": 1} for i in range(10)}
            split = {"corpus": ["d0", "d1"], "queries": queries, "relevant_docs": relevant}
            self.dataset: Any = {"default": {"test": split}}

    data = [_part(Task(), part).dataset["default"]["test"] for part in range(PARTS)]
    assert sorted(q for each in data for q in each["queries"]["id"]) == [f"q{i}" for i in range(10)]
    assert all(each["corpus"] == ["d0", "d1"] for each in data)
    assert all(sorted(each["relevant_docs"]) == sorted(each["queries"]["id"]) for each in data)


def test_a_score_that_differs_is_seen_whoever_has_it() -> None:
    figures = {
        "mteb": {"sts": {"scores": {"A": 0.5, "B": 0.25}}},
        "medi": {"sts": {"scores": {"A": 0.5, "B": 0.25}}},
        "again": {"sts": {"scores": {"A": 0.5, "B": 0.75}}},
    }
    assert _furthest(figures) == 0.5


def test_of_several_rounds_the_least_time_is_told() -> None:
    runs = [{"sts": {"cpu": cpu, "wall": 9 - cpu, "encoding": 1, "asked": 7}} for cpu in (4, 3, 5)]
    assert _least(runs) == {"sts": {"cpu": 3, "wall": 4, "encoding": 1, "asked": 7}}


def test_the_clock_passes_through_what_it_times() -> None:
    class Encoder:
        def encode(self, texts: list[str], *, size: int) -> list[str]:
            sum(i * i for i in range(200_000))
            return texts * size

    encoder = Encoder()
    clock = _EncodingClock(encoder)
    assert encoder.encode(["a"], size=2) == ["a", "a"]
    assert clock.seconds > 0


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux only")
def test_memory_that_was_given_back_is_in_the_peak() -> None:
    with _Watch() as watch:
        held = bytearray(64 * 2**20)
        held[:] = b"1" * len(held)
        for _ in range(100_000):  # until it has looked
            if watch.peak - watch.before > 60 * 2**10:
                break
            _anonymous_kib()
        del held
    assert watch.peak - watch.before > 60 * 2**10


@pytest.mark.long
def test_a_small_run_has_the_same_scores_and_encodes_a_shared_corpus_once() -> None:
    table = run("evaluation_speed", "--small")
    assert "sample world; encoder: tiny random T5" in table
    asked, encoded = (cells(table, f"texts {what}") for what in ("asked for", "encoded"))
    assert encoded[1] < asked[1] / 2
    assert cells(table, "and again") == [0, 0, 0]
    assert all(sum(cells(table, name)) > 0 for name in ("mteb", "medi", "again"))
    assert "largest difference of a main score" in table


@pytest.mark.long
def test_a_small_memory_run_finds_its_documents_and_encodes_them_once() -> None:
    table = run("evaluation_memory", "--documents", "3000", "--memory-mib", "8")
    assert cells(table, "documents") == [3000, 3000]
    assert cells(table, "texts encoded") == [3050, 0]
    assert min(cells(table, "memory growth, MiB")) > 0
    assert min(cells(table, "nDCG@10")) > 0.99
