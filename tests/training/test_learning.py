"""A training whose loss falls and that learns nothing would pass every other test.

Scores are of a world of which no entity, fact or text is in a training row (benchmarks.learning).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.learning import (
    ANSWER,
    ENTITIES,
    MIXES,
    TASKS,
    learn,
    mean,
    write_medi,
)
from medi_sources.sample.world import World, make_worlds
from training.data import load_rows


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def _names(world: World) -> set[str]:
    return {name for names in world.names.values() for name in names}


def test_nothing_that_is_scored_has_been_trained_on(tmp_path: Path) -> None:
    """Else the scores would be of what the model has learnt by heart."""
    trained, held_out = make_worlds(0, ENTITIES)
    tasks = [*TASKS, ANSWER]
    medi = write_medi(tmp_path, tasks, trained, True, 0)
    texts: set[str] = set()
    for task in tasks:
        rows = load_rows(medi, task.name).to_pydict()
        texts.update(rows["query"], rows["pos"], (t for texts in rows["neg"] for t in texts))
    said = "\n".join(texts).lower()
    assert not [name for name in _names(held_out) if re.search(rf"\b{name.lower()}\b", said)]
    facts = [fact for told in held_out.facts.values() for fact in told]
    sayings = {say(fact, i) for fact in facts for say in ANSWER.documents for i in range(3)}
    assert len(sayings) > 5000 and not sayings & texts


@pytest.mark.slow
def test_answers_about_things_never_seen_are_found(tmp_path: Path) -> None:
    """From near chance, which is 0.002: the questions in the pool share more words than answers."""
    before, after = learn(tmp_path, [ANSWER], True, seed=0, steps=200, scored=[ANSWER])
    assert before["answer"] < 0.1
    assert after["answer"] >= 0.6


@pytest.mark.long
def test_instructions_tell_apart_what_two_kinds_of_data_want(tmp_path: Path) -> None:
    """The paper's Fig. 3 in small: mixed, they want different neighbours of the same text."""
    scores = {}
    for instructed in (True, False):
        work = tmp_path / str(instructed)
        work.mkdir()
        _, scores[instructed] = learn(work, MIXES["both"], instructed, seed=0, steps=100)
    assert mean(scores[True]) > mean(scores[False]) + 0.05
