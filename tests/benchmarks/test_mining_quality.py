"""The quality benchmark counts what it says it counts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.mining_quality import (
    Judged,
    Setting,
    compare,
    figures,
    harder,
    judge,
    ours,
    peer,
    table,
)
from benchmarks.quality_cases import Case, Lookup, sample_cases, squad_case
from mining.mine import texts_of
from mining.options import MiningOptions
from tests.mining_pairs import bag_of_words, make_pairs

_DOCS = Path(__file__).resolve().parents[2] / "docs" / "mining.md"
_ANSWERS = {"who swims": {"otters swim", "an otter can swim"}}
_TOP_2 = Setting("top", {"margin": None, "negatives": 2}, {"num_negatives": 2})


def _case(symmetric: bool = False) -> Case:
    pairs = make_pairs(
        {"query": "who swims", "pos": "otters swim"},
        {"query": "can an otter dive", "pos": "an otter can swim"},
        {"query": "who sings", "pos": "who sings best"},
        {"query": "how tall is a giraffe", "pos": "giraffes are tall"},
    )
    texts = texts_of(pairs)
    return Case(
        "animals",
        pairs,
        symmetric,
        Lookup(texts, bag_of_words(texts)),
        lambda query, text: text in _ANSWERS.get(query, ()),
    )


@pytest.mark.parametrize("symmetric", [False, True])
def test_both_miners_get_the_same_candidates(symmetric: bool) -> None:
    case = _case(symmetric)
    found = ours(case, _TOP_2)
    assert found == peer(case, _TOP_2) and len(found) == 4
    assert all(query not in texts for query, texts in found.items())


def test_a_false_negative_is_counted_as_one() -> None:
    case = _case()
    mined = {"who swims": ["an otter can swim", "who sings best"]}
    judged = judge(case, mined)
    (row,) = judged.values()
    vectors = dict(zip(mined["who swims"], bag_of_words(mined["who swims"]), strict=True))
    (query,) = bag_of_words(["who swims"])
    assert [false for _, false in row] == [True, False]
    assert [cosine for cosine, _ in row] == pytest.approx([v @ query for v in vectors.values()])
    found = figures(judged, wanted=4, negatives=2)
    assert (found.precision, found.spoilt, found.filled) == (50, 100, 25)
    assert found.hardness == pytest.approx(row[1][0])


def _row(*scored: tuple[float, bool]) -> Judged:
    return {("case", "query"): scored}


@pytest.mark.parametrize(
    "left, right, difference",
    [
        ([(0.5, False), (0.4, False)], [(0.9, True), (0.5, False)], 0),
        ([(0.5, False)], [(0.4, False), (0.3, False)], 0.1),
        ([(0.9, True)], [(0.4, False)], 0),
    ],
)
def test_hardness_is_compared_like_for_like(
    left: Sequence[tuple[float, bool]], right: Sequence[tuple[float, bool]], difference: float
) -> None:
    assert harder(_row(*left), _row(*right)) == pytest.approx(difference)


def test_the_sample_world_is_measured_and_medi_is_not_worse() -> None:
    cases = list(sample_cases(1, 2))
    found, fine = table(cases, [Setting("top", {"margin": None})])
    assert fine and "not worse" in found and found.count("\n") == 2
    false = [each for case in cases for row in _judged_top(case) for each in row if each[1]]
    assert false  # planted: labelled nowhere, and nearest


def _judged_top(case: Case) -> list[Sequence[tuple[float, bool]]]:
    setting = Setting("top", {"margin": None})
    return list(judge(case, ours(case, setting)).values())


@pytest.mark.parametrize("taken", ["an otter can swim", "giraffes are tall"])
def test_worse_is_said(taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A false negative where the peer has none, or an easy negative where its is hard."""
    by_name = {"ours": taken, "peer": "who sings best"}
    for name, text in by_name.items():
        found = {"who swims": [text]}
        monkeypatch.setattr(f"benchmarks.mining_quality.{name}", lambda *_, found=found: found)
    line, fine = compare([_case()], _TOP_2)
    assert "WORSE" in line and not fine


def test_an_answer_string_makes_a_paragraph_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"question": "How many?", "id": "0", "answers": [{"text": "Four", "answer_start": 5}]}
    other = {"question": "Who?", "id": "1", "answers": [{"text": "Otters", "answer_start": 0}]}
    told = [("Only four.", asked), ("Otters in fourteen rivers.", other)]
    paragraphs = [{"context": context, "qas": [each]} for context, each in told]
    file = tmp_path / "squad.json"
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}))
    monkeypatch.setattr("benchmarks.quality_cases.load_encoder", lambda *_: bag_of_words)
    answers = squad_case(file, "none").answers
    assert answers("How many?", "there were FOUR of them")
    assert not answers("How many?", "Otters in fourteen rivers.")


def test_the_docs_name_every_rule_with_its_default() -> None:
    told: dict[str, str] = {}
    for names, values in re.findall(r"^\| (`.+?) \| (.+?) \|", _DOCS.read_text(), re.MULTILINE):
        fields = names.replace("`", "").split(", ")
        told |= zip(fields, values.replace("`", "").split(", "), strict=True)
    defaults = MiningOptions().model_dump()
    assert told == {name: str(value).replace("None", "null") for name, value in defaults.items()}
