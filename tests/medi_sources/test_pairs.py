"""The pairs stage from files to tables: nothing is lost silently, the same input gives the same
bytes, the sample does not depend on the order of rows."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.encoder import Vectors
from artifacts.errors import DatasetError
from artifacts.row import DROPPED, PAIRS
from artifacts.text import normalise
from medi_sources.clean import CleaningOptions
from medi_sources.pairs import PairsOptions, PairsResult, build_pairs
from tests.source_files import source

TOLERANT = CleaningOptions(max_drop_share=1)


def build(folder: Path, layout: str, values: list[Any], **options: Any) -> PairsResult:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return build_pairs(source(layout), [path], PairsOptions(**options))


def reasons(result: PairsResult) -> dict[int, str]:
    table = result.dropped
    return dict(zip(table["row_id"].to_pylist(), table["reason"].to_pylist(), strict=True))


def hashed(texts: Sequence[str]) -> Vectors:
    rows = [np.random.default_rng(list(text.encode())).normal(size=6) for text in texts]
    vectors = np.array(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_one_query_with_several_positives_is_one_row_that_knows_them_all(tmp_path: Path) -> None:
    values = [["Who wades?", "heron"], ["who  WADES?", "egret"], ["who hoots?", "owl"]]
    values += [["Who wades?", "Heron"], ["who wades?", "crane"]]
    result = build(tmp_path, "jsonl_list", values)
    assert result.pairs.to_pylist() == [
        {
            "row_id": 0,
            "query": "Who wades?",
            "pos": "heron",
            "known_pos": ["heron", "egret", "crane"],
            "neg": [],
            "negatives": None,
        },
        {
            "row_id": 2,
            "query": "who hoots?",
            "pos": "owl",
            "known_pos": ["owl"],
            "neg": [],
            "negatives": None,
        },
    ]
    assert reasons(result) == {1: "joined", 3: "duplicate", 4: "joined"}
    assert result.dropped["detail"].to_pylist() == ["row 0"] * 3
    assert result.counts == {
        "rows_in": 5,
        "rows_out": 2,
        "native": 0,
        "dropped": {"duplicate": 1, "joined": 2},
    }


def test_a_native_negative_that_is_known_to_be_right_is_no_negative(tmp_path: Path) -> None:
    values = [
        {"query": "who wades", "pos": ["heron"], "neg": ["Egret", "owl", "WHO WADES", "wren"]},
        {"query": "who wades", "pos": ["egret"], "neg": ["owl"]},
        {"query": "who hoots", "pos": ["owl"], "neg": ["OWL", ""]},
    ]
    rows = build(tmp_path, "jsonl_query_pos_neg", values).pairs.to_pylist()
    assert (rows[0]["neg"], rows[0]["negatives"]) == (["owl", "wren"], "native")
    assert (rows[1]["neg"], rows[1]["negatives"]) == ([], None)


def test_native_negatives_are_limited(tmp_path: Path) -> None:
    values = [{"query": "who", "pos": ["heron"], "neg": [f"bird {i}" for i in range(20)]}]
    result = build(tmp_path, "jsonl_query_pos_neg", values, native_negatives=3)
    assert result.pairs["neg"].to_pylist() == [["bird 0", "bird 1", "bird 2"]]


def test_two_texts_of_a_set_are_chosen_by_the_seed(tmp_path: Path) -> None:
    values = [{"set": [f"set {i} text {j}" for j in range(5)]} for i in range(40)]
    rows = build(tmp_path, "jsonl_set", values).pairs.to_pylist()
    for value, row in zip(values, rows, strict=True):
        assert row["query"] != row["pos"]
        assert {row["query"], row["pos"]} < set(row["known_pos"]) == set(value["set"])
    assert len({row["query"][-1] for row in rows}) == 5
    assert len({row["pos"][-1] for row in rows}) == 5
    assert build(tmp_path, "jsonl_set", values, seed=1).pairs.to_pylist() != rows
    # What a set gives does not depend on the rows around it.
    assert build(tmp_path, "jsonl_set", values[:3]).pairs.to_pylist() == rows[:3]


@st.composite
def repeating(draw: st.DrawFn) -> list[list[str]]:
    """Rows of a few queries, most of them met several times."""
    pick = random.Random(draw(st.integers(0, 10_000)))
    count = draw(st.integers(1, 60))
    return [[f"query {pick.randint(0, 11)}", f"answer {pick.randint(0, 3)}"] for _ in range(count)]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=repeating(), cap=st.integers(1, 9), seed=st.integers(0, 3))
def test_every_row_is_kept_or_dropped_and_the_sample_ignores_the_order(
    tmp_path: Path, values: list[list[str]], cap: int, seed: int
) -> None:
    result = build(tmp_path, "jsonl_list", values, cap=cap, seed=seed)
    kept = result.pairs["row_id"].to_pylist()
    assert sorted([*kept, *reasons(result)]) == list(range(len(values)))
    assert kept == sorted(kept)
    assert list(reasons(result)) == sorted(reasons(result))
    assert len(kept) == min(cap, len({query for query, _ in values}))

    shuffled = random.Random(seed).sample(values, len(values))
    again = build(tmp_path, "jsonl_list", shuffled, cap=cap, seed=seed)

    def known(tables: PairsResult) -> dict[str, set[str]]:
        rows = tables.pairs.to_pylist()
        return {row["query"]: set(row["known_pos"]) for row in rows}

    assert known(again) == known(result)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=repeating(), cap=st.integers(1, 8))
def test_a_larger_sample_holds_the_smaller_one(
    tmp_path: Path, values: list[list[str]], cap: int
) -> None:
    smaller = build(tmp_path, "jsonl_list", values, cap=cap).pairs.to_pylist()
    larger = build(tmp_path, "jsonl_list", values, cap=cap + 1).pairs.to_pylist()
    assert all(row in larger for row in smaller)


def test_the_tables_have_the_agreed_schemas_and_the_same_bytes_again(tmp_path: Path) -> None:
    values = [[f"query {i % 7}", f"answer {i}"] for i in range(30)] + [["x", ""]]
    one, two = (build(tmp_path, "jsonl_list", values, cap=4) for _ in range(2))
    assert (one.pairs.schema, one.dropped.schema) == (PAIRS, DROPPED)
    assert one.pairs.equals(two.pairs) and one.dropped.equals(two.dropped)
    assert one.counts == two.counts


def test_too_many_bad_rows_stop_the_dataset_with_the_counts(tmp_path: Path) -> None:
    values = [[f"query {i}", f"answer {i}"] for i in range(7)] + [["query", ""], ["q"], 5]
    with pytest.raises(DatasetError) as error:
        build(tmp_path, "jsonl_list", values)
    assert str(error.value) == (
        "birds: 3 of 10 rows are unusable (empty 1, wrong_fields 2), more than max_drop_share 0.2 "
        "allows; the first is row 7: empty (positive: 0 characters, '')"
    )


def test_duplicates_and_the_cap_do_not_count_as_bad(tmp_path: Path) -> None:
    values = [["query 1", "answer"]] * 50 + [[f"query {i}", "answer"] for i in range(50)]
    assert build(tmp_path, "jsonl_list", values, cap=2).pairs.num_rows == 2


@pytest.mark.parametrize("values", [[], [["same text", "same text"]]])
def test_a_dataset_without_rows_is_an_error(tmp_path: Path, values: list[Any]) -> None:
    with pytest.raises(DatasetError, match="birds: no usable row among"):
        build(tmp_path, "jsonl_list", values)


def test_half_a_character_never_reaches_a_table(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('["good query", "good answer"]\n["half \\ud83d", "x"]\n["\\u0000 nul", "x"]\n')
    result = build_pairs(source("jsonl_list"), [path], PairsOptions(cleaning=TOLERANT))
    assert reasons(result) == {1: "invalid_utf8", 2: "nul_byte"}


def task_file(folder: Path, outputs: Sequence[str], repeat: int = 1) -> Path:
    inputs = [{"input": f"input {i}", "output": [each]} for i, each in enumerate(outputs)]
    path = folder / "task.json"
    path.write_text(json.dumps({"Definition": ["Do."], "Instances": inputs * repeat}))
    return path


@pytest.mark.parametrize("kind", ["classification", "generation"])
def test_superni_pairs_are_inputs_of_one_task(tmp_path: Path, kind: str) -> None:
    closed = kind == "classification"
    outputs = [f"label {i % 3}" if closed else f"text {i}" for i in range(30)]
    path = task_file(tmp_path, outputs, repeat=2)
    result = build_pairs(source("superni"), [path], PairsOptions(cap=10), hashed)
    assert result.counts == {
        "rows_in": 60,
        "rows_out": 10,
        "native": 0,
        "dropped": {"duplicate": 30, "over_cap": 20},
        "superni_kind": kind,
        "superni_labels": 3 if closed else 30,
        "superni_instances": 30,
    }
    of = {f"input {i}": output for i, output in enumerate(outputs)}
    for row in result.pairs.to_pylist():
        assert row["negatives"] == "mined" and len(row["neg"]) == 4
        assert len({row["query"], row["pos"], *row["neg"]}) == 6
        assert row["known_pos"] == [row["pos"]]
        assert (of[row["pos"]] == of[row["query"]]) is closed
        assert all(of[negative] != of[row["query"]] for negative in row["neg"])


def test_a_superni_task_with_one_output_is_refused_not_given_false_negatives(
    tmp_path: Path,
) -> None:
    path = task_file(tmp_path, ["yes", " Yes"] * 10)
    with pytest.raises(DatasetError) as error:
        build_pairs(source("superni"), [path], PairsOptions(), hashed)
    assert str(error.value) == (
        "birds: no usable row among 20 (no_partner 20); the first is row 0: no_partner "
        "(no negative: every instance has the same output)"
    )


def test_a_label_that_one_instance_has_costs_that_instance_alone(tmp_path: Path) -> None:
    path = task_file(tmp_path, ["Yes", "no", " yes", "NO"] * 5 + ["perhaps"])
    result = build_pairs(source("superni"), [path], PairsOptions(), hashed)
    assert reasons(result) == {20: "no_partner"}
    assert (result.counts["superni_kind"], result.counts["superni_labels"]) == (
        "classification",
        3,
    )
    # It is wrong for all the others, so it may well be their negative.
    assert any("input 20" in row["neg"] for row in result.pairs.to_pylist())


def test_labels_in_other_dress_are_one_label(tmp_path: Path) -> None:
    plain = task_file(tmp_path, ["yes", "no"] * 10)
    expected = build_pairs(source("superni"), [plain], PairsOptions(), hashed)
    dressed = task_file(tmp_path, ["yes", "no", " YES", "No\n"] * 5)
    got = build_pairs(source("superni"), [dressed], PairsOptions(), hashed)
    assert got.pairs.equals(expected.pairs) and got.counts == expected.counts


def test_memory_never_changes_the_pairs_of_a_superni_task(tmp_path: Path) -> None:
    path = task_file(tmp_path, [f"text {i}" for i in range(400)])
    small, large = (
        build_pairs(source("superni"), [path], PairsOptions(superni_memory_mib=mib), hashed)
        for mib in (1, 512)
    )
    assert small.pairs.equals(large.pairs)


def test_the_cap_of_a_superni_task_does_not_change_its_pairs(tmp_path: Path) -> None:
    path = task_file(tmp_path, [f"text {i}" for i in range(30)])
    whole = build_pairs(source("superni"), [path], PairsOptions(), hashed).pairs.to_pylist()
    some = build_pairs(source("superni"), [path], PairsOptions(cap=5), hashed).pairs.to_pylist()
    assert len(some) == 5 and all(row in whole for row in some)


def test_superni_inputs_that_differ_in_case_only_are_one(tmp_path: Path) -> None:
    path = tmp_path / "task.json"
    inputs = [{"input": each, "output": [each[-1]]} for each in ("In A", "in  a", "in b", "in c")]
    path.write_text(json.dumps({"Definition": "d", "Instances": inputs}))
    rows = build_pairs(source("superni"), [path], PairsOptions(), hashed).pairs.to_pylist()
    assert [row["row_id"] for row in rows] == [0, 2, 3]
    for row in rows:
        assert len({normalise(text) for text in (row["query"], row["pos"], *row["neg"])}) == 3


def test_rows_of_a_window_are_numbered_as_in_the_whole_file(tmp_path: Path) -> None:
    """Else no row of a giant file could be found again upstream."""
    values = [["q one", "p one"], ["q two", ""], ["q three", "p three"], ["q one", "p one"]]
    whole = build(tmp_path, "jsonl_list", values, cleaning=TOLERANT)
    cut = build(tmp_path, "jsonl_list", values, cleaning=TOLERANT, first_row=5_000_000_000)
    for told, moved in ((whole.pairs, cut.pairs), (whole.dropped, cut.dropped)):
        row_ids = [row + 5_000_000_000 for row in told.column("row_id").to_pylist()]
        assert moved.column("row_id").to_pylist() == row_ids
    assert cut.dropped.to_pylist()[1]["detail"] == "row 5000000000"
