"""Near-duplicates, where asked for: the later row goes, and only for a row that is nearly it."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from artifacts.encoder import Vectors
from medi_sources.clean import CleaningOptions
from medi_sources.near_duplicates import near_duplicates
from medi_sources.pairs import PairsOptions, PairsResult, build_pairs
from tests.source_files import source

_REPOSITORY = Path(__file__).parents[2]
PASSAGE = "The grey heron stands in shallow water and waits for fish, frogs and small mammals"
OTHER = "An owl hunts by night; its feathers make no sound, and it hears a mouse under snow"


def drawn(texts: Sequence[str]) -> Vectors:
    """A stand-in encoder."""
    rows = [np.random.default_rng(list(text.encode())).normal(size=6) for text in texts]
    return np.array(rows, dtype=np.float32)


def build(folder: Path, values: list[Any], threshold: float | None) -> PairsResult:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    cleaning = CleaningOptions(near_duplicates=threshold)
    return build_pairs(source("jsonl_list"), [path], PairsOptions(cleaning=cleaning))


def test_the_later_row_goes_and_names_the_one_that_stays(tmp_path: Path) -> None:
    values = [
        ["how does the heron catch its food", PASSAGE],
        ["how does an owl hunt in the night", OTHER],
        ["how does the heron catch its food?", PASSAGE.upper() + "."],
        ["how does the heron catch its food??", PASSAGE + "!"],
    ]
    assert build(tmp_path, values, None).pairs.num_rows == 4
    result = build(tmp_path, values, 0.8)
    assert result.pairs["row_id"].to_pylist() == [0, 1]
    assert result.dropped.to_pylist() == [
        {"row_id": 2, "reason": "near_duplicate", "detail": "row 0"},
        {"row_id": 3, "reason": "near_duplicate", "detail": "row 0"},
    ]
    assert result.counts["dropped"] == {"near_duplicate": 2}


def test_questions_of_one_passage_and_passages_of_one_question_stay(tmp_path: Path) -> None:
    values = [
        ["where does the heron stand", PASSAGE],
        ["which animals does it eat", PASSAGE],
        ["which animals does it eat?", OTHER],
    ]
    assert build(tmp_path, values, 0.6).pairs.num_rows == 3


def test_superni_near_duplicates_go_before_pairs_are_made(tmp_path: Path) -> None:
    """Else an input would be paired with its own near copy."""
    inputs = [PASSAGE, PASSAGE + ".", OTHER, "a wren", "b robin", "c crane"]
    values = [{"input": each, "output": [f"out {i}"]} for i, each in enumerate(inputs)]
    path = tmp_path / "task.json"
    path.write_text(json.dumps({"Definition": "d", "Instances": values}))
    options = PairsOptions(cleaning=CleaningOptions(near_duplicates=0.9))
    result = build_pairs(source("superni"), [path], options, drawn)
    assert result.dropped.to_pylist() == [
        {"row_id": 1, "reason": "near_duplicate", "detail": "row 0"}
    ]
    assert result.counts["superni_instances"] == 5
    for row in result.pairs.to_pylist():
        assert inputs[1] not in {row["query"], row["pos"], *row["neg"]}


def _changed(pick: random.Random, text: str, edits: int) -> str:
    characters = list(text)
    for at in pick.sample(range(len(text)), edits):
        characters[at] = "#"
    return "".join(characters)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
def test_all_copies_are_found_and_nothing_below_the_threshold(threshold: float) -> None:
    pick = random.Random(0)
    originals = ["".join(pick.choices("abcdefgh ", k=300)).strip() for _ in range(60)]
    texts = originals + [_changed(pick, text, edits) for text in originals for edits in (0, 2, 40)]
    found = near_duplicates([(text,) for text in texts], threshold)

    def similarity(one: str, other: str) -> float:
        a, b = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (one, other))
        return len(a & b) / len(a | b)

    assert all(j < i and j not in found for i, j in found.items())
    assert all(similarity(texts[i], texts[j]) >= threshold for i, j in found.items())
    copies = {60 + 3 * i: i for i in range(60)}
    edited = {60 + 3 * i + 1: i for i in range(60)} if threshold < 1 else {}
    assert found == copies | edited


def test_short_texts_are_compared_whole() -> None:
    rows = [("yes", "no"), ("YES ", "no"), ("yes", "not"), ("", "")]
    assert near_duplicates(rows, 0.5) == {1: 0}


def test_the_result_does_not_hang_on_the_process() -> None:
    pick = random.Random(1)
    base = ["".join(pick.choices("abc ", k=80)) for _ in range(40)]
    rows = [(_changed(pick, text, edits),) for text in base for edits in (0, 3, 4, 5)]
    program = (
        "import json, sys; from medi_sources.near_duplicates import near_duplicates as n\n"
        "print(json.dumps(list(n([tuple(r) for r in json.load(sys.stdin)], 0.7).items())))"
    )
    there = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(rows),
        text=True,
        capture_output=True,
        check=True,
        cwd=_REPOSITORY,
        env={**os.environ, "PYTHONHASHSEED": "77"},
    )
    here = near_duplicates(rows, 0.7)
    assert 0 < len(here) < 120
    assert [tuple(pair) for pair in json.loads(there.stdout)] == list(here.items())


@pytest.mark.parametrize("threshold", [0.4, 1.1])
def test_a_threshold_that_means_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(ValidationError, match="near_duplicates"):
        CleaningOptions(near_duplicates=threshold)
