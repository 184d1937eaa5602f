"""Positives that answer everything go, and nothing that a source repeats for good reason."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.text import normalise
from medi_sources.boilerplate import find_boilerplate, without_boilerplate
from medi_sources.clean import CleaningOptions
from medi_sources.pairs import PairsOptions, PairsResult, build_pairs
from medi_sources.readers import Dropped, Item
from tests.source_files import source

STRICT = CleaningOptions(boilerplate_share=0.02, boilerplate_queries=10)


def build(
    folder: Path, layout: str, values: Sequence[Any], symmetric: bool = False, **options: Any
) -> PairsResult:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    record = source(layout).model_copy(update={"symmetric": symmetric})
    return build_pairs(record, [path], PairsOptions(**options))


def boilerplate_rows(result: PairsResult) -> list[int]:
    rows = result.dropped.to_pylist()
    return [row["row_id"] for row in rows if row["reason"] == "boilerplate"]


def test_what_answers_everything_is_dropped_and_the_cap_still_reached(tmp_path: Path) -> None:
    values = [[f"question {i}", f"answer {i}"] for i in range(300)]
    for i in range(0, 300, 3):
        values[i][1] = "Thank You!" if i % 2 else "thank you!"
    result = build(tmp_path, "jsonl_list", values, cap=200, cleaning=STRICT)
    assert result.pairs.num_rows == 200
    assert boilerplate_rows(result) == list(range(0, 300, 3))
    assert result.counts["dropped"] == {"boilerplate": 100}
    assert result.dropped["detail"][0].as_py() == "positive: 10 characters, 'thank you!'"


def test_a_row_with_another_positive_stays_without_the_boilerplate(tmp_path: Path) -> None:
    values = [{"query": f"question {i}", "pos": ["I don't know"]} for i in range(49)]
    values.insert(7, {"query": "What colour?", "pos": ["I don't know", "It is grey"]})
    row = build(tmp_path, "jsonl_query_pos_neg", values, cleaning=STRICT).pairs.to_pylist()
    assert [(each["row_id"], each["known_pos"]) for each in row] == [(7, ["It is grey"])]


def test_by_default_sources_as_they_are_lose_nothing(tmp_path: Path) -> None:
    """Five questions a paragraph, a popular page in a small source, one pair said often."""
    squad = [[f"question {i}", f"paragraph {i // 5}"] for i in range(1000)]
    popular = [[f"question {i}", "the one page" if i % 2 else f"page {i}"] for i in range(190)]
    repeated = [["Who?", "You"]] * 500 + [[f"question {i}", f"answer {i}"] for i in range(500)]
    for values in (squad, popular, repeated):
        assert boilerplate_rows(build(tmp_path, "jsonl_list", values)) == []


def test_only_sets_and_asymmetric_pairs_have_boilerplate(tmp_path: Path) -> None:
    pairs = [[f"caption {i}", "A man is outside."] for i in range(50)]
    kept = build(tmp_path, "jsonl_list", pairs, symmetric=True, cleaning=STRICT)
    assert kept.pairs.num_rows == 50
    sets = [{"set": ["No caption.", f"one {i}", f"two {i}"]} for i in range(50)]
    sets[3] = {"set": ["no caption.", "one 3"]}
    sets[4] = {"set": ["one 4", "No caption.", "two 4"]}
    left = build(tmp_path, "jsonl_set", sets, symmetric=True, cleaning=STRICT)
    assert boilerplate_rows(left) == [3]
    for row in left.pairs.to_pylist():
        i = row["row_id"]
        assert set(row["known_pos"]) == {row["query"], row["pos"]} == {f"one {i}", f"two {i}"}


def test_a_share_of_one_switches_it_off(tmp_path: Path) -> None:
    values = [[f"question {i}", "Yes, it does"] for i in range(200)]
    off = CleaningOptions(boilerplate_share=1, boilerplate_queries=2)
    assert build(tmp_path, "jsonl_list", values, cleaning=off).pairs.num_rows == 200


def test_a_text_that_comes_rarely_at_first_is_not_forgotten() -> None:
    """200 of 400 rows are not more than half of them, 201 are."""
    for often, boilerplate in ((190, 0), (191, 1)):
        met = {*range(0, 200, 20), *range(200, 200 + often)}
        rows = [Item(i, f"query {i}", ("Yes" if i in met else f"text {i}",)) for i in range(400)]
        options = CleaningOptions(boilerplate_share=0.5)
        assert len(find_boilerplate(rows.__iter__, False, options)) == boilerplate


@st.composite
def skewed(draw: st.DrawFn) -> list[Item]:
    """Rows whose positives are drawn from few texts, some much more often than others."""
    pick = random.Random(draw(st.integers(0, 10_000)))
    texts, queries = draw(st.integers(2, 60)), draw(st.integers(2, 200))
    rows = []
    for i in range(draw(st.integers(0, 300))):
        drawn = {f"text {int(texts * pick.random() ** 3)}" for _ in range(pick.randint(1, 4))}
        rows.append(Item(i, f"Query {pick.randrange(queries)}", tuple(sorted(drawn))))
    return rows


@pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
@given(rows=skewed(), least=st.integers(2, 30))
def test_exactly_the_texts_above_both_bounds_are_boilerplate(
    share: float, rows: list[Item], least: int
) -> None:
    options = CleaningOptions(boilerplate_share=share, boilerplate_queries=least)
    queries = defaultdict(set)
    for row in rows:
        for text in row.positives:
            queries[text].add(normalise(row.query))
    bad = {t for t, met in queries.items() if len(met) >= least and len(met) > share * len(rows)}
    found = find_boilerplate(rows.__iter__, False, options)
    assert len(found) == len(bad)
    for row in rows:
        left = [text for text in row.positives if text not in bad]
        got = without_boilerplate(row, found)
        assert left == (list(got.positives) if isinstance(got, Item) else [])
        assert isinstance(got, Dropped) == (not left)
