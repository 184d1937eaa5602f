"""A training whose loss falls and that learns nothing would pass every other test."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.learning import MIXES, learn, mean


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def test_what_was_never_seen_is_found_after_training(tmp_path: Path) -> None:
    """Questions about another world's things find what is told about them, among all its facts.

    The untrained encoder owes its score to the names that both sides share.
    """
    before, after = learn(tmp_path, MIXES["asymmetric"], instructed=True, seed=0, steps=200)
    assert before["same_thing"] < 0.3
    assert after["same_thing"] >= 0.6


def test_instructions_tell_apart_what_two_tasks_want(tmp_path: Path) -> None:
    """Fig. 3 in small: symmetric and asymmetric data mixed want different neighbours of a text."""
    scores = {}
    for instructed in (True, False):
        work = tmp_path / str(instructed)
        work.mkdir()
        _, scores[instructed] = learn(work, MIXES["both"], instructed, seed=0, steps=100)
    assert mean(scores[True]) > mean(scores[False]) + 0.05
