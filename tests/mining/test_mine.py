"""Mining a dataset: which negatives a row gets, and what is counted. Encoder: bags of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.encoder import Vectors
from artifacts.row import DROPPED, MINED, PAIRS
from artifacts.text import normalise
from mining.choose import score_bound
from mining.mine import mine, texts_of
from tests.mining_pairs import ANIMALS, ROWS_OF_WORDS, bag_of_words, make_pairs, options


def test_the_nearest_other_answer_is_the_negative() -> None:
    result = mine(ANIMALS, False, bag_of_words, options())
    assert [row["neg"] for row in result.table.to_pylist()][3:] == [
        ["an elephant is three metres tall"],
        ["a giraffe is five metres tall"],
    ]
    assert result.table.schema == MINED and result.dropped.schema == DROPPED
    assert result.table["negatives"].unique().to_pylist() == ["mined"]


def test_scores_are_the_cosines_of_what_is_written() -> None:
    for row in mine(ANIMALS, False, bag_of_words, options(negatives=3)).table.to_pylist():
        query, pos, *negs = bag_of_words([row["query"], row["pos"], *row["neg"]])
        assert row["pos_score"] == pytest.approx(query @ pos, abs=0.51e-4)
        assert row["neg_score"] == pytest.approx([query @ neg for neg in negs], abs=0.51e-4)


def test_order_of_the_pairs_changes_nothing() -> None:
    shuffled = ANIMALS.take([3, 0, 4, 2, 1])
    one, other = (
        mine(pairs, False, bag_of_words, options(negatives=3, candidates=3))
        for pairs in (ANIMALS, shuffled)
    )
    assert one.table.equals(other.table) and one.counts == other.counts
    assert one.table["row_id"].to_pylist() == [0, 1, 2, 3, 4]


def test_known_answers_are_never_negatives() -> None:
    pairs = make_pairs(
        {"query": "Where do otters live", "pos": "otters live in rivers by day"},
        {
            "query": "where do  OTTERS live",  # the same query, written otherwise
            "pos": "otters live in rivers",
            "known_pos": ["otters live in rivers", "Otters live in BURROWS"],
        },
        {"query": "who lives in burrows", "pos": "otters live in burrows"},
        {"query": "how tall is a giraffe", "pos": "five metres"},
    )
    result = mine(pairs, False, bag_of_words, options(margin=1.0))
    assert result.table.to_pylist()[0]["neg"] == ["five metres"]
    assert result.table.to_pylist()[1]["neg"] == ["five metres"]
    assert result.counts["excluded"]["known_positive"] >= 4


def test_queries_are_candidates_only_in_a_symmetric_dataset() -> None:
    pairs = make_pairs(
        {"query": "small otters swim", "pos": "otters swim small rivers"},
        {"query": "small otters sing", "pos": "a ballad of giraffes"},
    )
    asymmetric, symmetric = (
        mine(pairs, kind, bag_of_words, options(margin=1.0)).table.to_pylist()[0]["neg"]
        for kind in (False, True)
    )
    assert asymmetric == ["a ballad of giraffes"]
    assert symmetric == ["small otters sing"]


_NATIVE = make_pairs(
    {
        "query": "where do otters live",
        "pos": "otters live in rivers",
        "neg": ["otters eat fish", "otters live on the moon", "otters"],
        "negatives": "native",
    },
    {
        "query": "where do bees live",
        "pos": "bees live in hives",
        "neg": ["bees live in the sea"],
        "negatives": "mined",
    },
    {"query": "where do badgers live", "pos": "badgers live in setts"},
)


def test_texts_are_in_the_order_of_the_rows() -> None:
    assert texts_of(_NATIVE.take([2, 1, 0]))[:5] == [
        "where do otters live", "otters live in rivers", "otters eat fish",
        "otters live on the moon", "otters",
    ]  # fmt: skip


def test_native_negatives_are_kept_first_ones_in_order() -> None:
    rows = mine(_NATIVE, False, bag_of_words, options(negatives=2)).table.to_pylist()
    assert rows[0]["neg"] == ["otters eat fish", "otters live on the moon"]
    assert [row["negatives"] for row in rows] == ["native", "mined", "mined"]
    assert [len(row["neg_score"]) for row in rows] == [2, 1, 2]


def test_replace_mines_native_rows_and_leaves_superni_rows() -> None:
    rows = mine(_NATIVE, False, bag_of_words, options(native="replace")).table.to_pylist()
    assert rows[0]["negatives"] == "mined"
    assert rows[0]["neg_score"][0] < score_bound(rows[0]["pos_score"], 0.95)
    assert rows[1]["neg"] == ["bees live in the sea"]


def test_add_completes_native_negatives_without_repeating_them() -> None:
    rows = mine(_NATIVE, False, bag_of_words, options(negatives=5, native="add")).table.to_pylist()
    assert rows[0]["neg"][:3] == ["otters eat fish", "otters live on the moon", "otters"]
    assert len(rows[0]["neg"]) == len(set(rows[0]["neg"])) > 3
    assert rows[0]["negatives"] == "native"


def test_nothing_is_searched_where_every_row_has_negatives() -> None:
    """Native datasets are the largest; their corpus must not be searched for nothing."""
    result = mine(_NATIVE.slice(0, 2), False, bag_of_words, options())
    assert (result.counts["rows_out"], result.counts["corpus"]) == (2, 0)


def test_too_few_drops_or_completes_the_row() -> None:
    """The best candidate is the row's own answer, so one candidate is too few."""
    narrow = {"negatives": 1, "candidates": 1}
    dropped = mine(ANIMALS, False, bag_of_words, options(**narrow, too_few="drop"))
    assert dropped.counts["dropped"] == {"too_few_negatives": 5}
    assert dropped.dropped["reason"].unique().to_pylist() == ["too_few_negatives"]
    detail = dropped.dropped["detail"][0].as_py()
    assert detail.startswith("0 of 1 negatives found; they must score below 0.")
    completed = mine(
        ANIMALS, False, bag_of_words, options(negatives=3, candidates=3, too_few="random")
    )
    assert completed.counts["randomly_completed"] > 0
    assert completed.counts["rows_out"] == 5


def test_random_completion_hangs_on_the_seed_and_the_row_alone() -> None:
    """Adding rows to a build, or building in another order, must not reshuffle the old ones."""
    wide = make_pairs(
        {"query": "otters swim", "pos": "otters swim"},
        *({"query": f"topic {i}", "pos": f"answer number {i}"} for i in range(40)),
    )
    first, again, other = (
        mine(wide, False, bag_of_words, options(negatives=4, candidates=4, seed=seed)).table
        for seed in (1, 1, 2)
    )
    assert first.equals(again) and not first.equals(other)


@pytest.mark.parametrize("too_few", ["random", "drop"])
def test_a_single_document_leaves_no_negative(too_few: str) -> None:
    pairs = make_pairs({"query": "who swims", "pos": "an otter"})
    result = mine(pairs, False, bag_of_words, options(too_few=too_few))
    assert (result.table.num_rows, result.dropped.num_rows) == (0, 1)
    assert result.counts["pos_score"]["mean"] is None


def test_identical_texts_leave_no_negative() -> None:
    pairs = make_pairs(*({"query": "An otter", "pos": "an  OTTER"} for _ in range(6)))
    result = mine(pairs, True, bag_of_words, options())
    assert result.counts["dropped"] == {"too_few_negatives": 6}


def test_a_small_corpus_gives_what_it_has_or_drops() -> None:
    kept = mine(ANIMALS, False, bag_of_words, options(negatives=20, too_few="random"))
    assert 0 < max(len(row["neg"]) for row in kept.table.to_pylist()) <= 4
    dropped = mine(ANIMALS, False, bag_of_words, options(negatives=20, too_few="drop"))
    assert dropped.table.num_rows == 0


def test_no_rows_is_an_empty_result() -> None:
    result = mine(PAIRS.empty_table(), False, bag_of_words, options())
    assert result.table.schema == MINED and result.dropped.schema == DROPPED
    assert result.counts["rows_in"] == result.counts["rows_out"] == 0


def test_a_query_without_a_direction_gets_no_false_negative() -> None:
    """All its scores are 0, so nothing is below the bound: the row goes, nothing divides by 0."""
    pairs = make_pairs({"query": "  ", "pos": "an otter"}, {"query": "bees", "pos": "bees hum"})
    result = mine(pairs, False, bag_of_words, options())
    assert result.dropped["row_id"].to_pylist() == [0]


def test_what_is_encoded_is_each_text_once_whatever_the_options() -> None:
    """Else vectors that are kept would not serve another selection."""
    asked: list[str] = []

    def counting(texts: Sequence[str]) -> Vectors:
        asked.extend(texts)
        return bag_of_words(texts)

    for changed in ({"native": "add"}, {"native": "keep", "negatives": 2, "consistency": 3}):
        mine(_NATIVE, True, counting, options(**changed))
        assert asked == texts_of(_NATIVE.take([2, 0, 1]))
        asked.clear()


def test_summaries_are_of_the_rows_that_are_out() -> None:
    result = mine(ANIMALS, False, bag_of_words, options(negatives=2))
    scores = [row["pos_score"] for row in result.table.to_pylist()]
    assert result.counts["pos_score"]["p50"] == pytest.approx(np.median(scores), abs=1e-4)
    negatives = [score for row in result.table.to_pylist() for score in row["neg_score"]]
    assert result.counts["neg_score"]["mean"] == pytest.approx(np.mean(negatives), abs=1e-4)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(ROWS_OF_WORDS, min_size=1, max_size=12),
    st.booleans(),
    st.integers(1, 4),
    st.sampled_from([0.8, 0.95, 1.0]),
    st.sampled_from(["random", "drop"]),
)
def test_every_mined_row_keeps_the_rules(
    rows: list[dict[str, Any]], symmetric: bool, negatives: int, margin: float, too_few: str
) -> None:
    chosen = options(negatives=negatives, margin=margin, too_few=too_few, candidates=5)
    result = mine(make_pairs(*rows), symmetric, bag_of_words, chosen)
    right: dict[str, set[str]] = {}
    for row in rows:
        texts = {normalise(text) for text in (row["query"], *row["known_pos"])}
        right.setdefault(normalise(row["query"]), set()).update(texts)
    for row in result.table.to_pylist():
        normal = [normalise(text) for text in row["neg"]]
        assert 1 <= len(set(normal)) == len(normal) <= negatives
        assert not right[normalise(row["query"])] & set(normal)
        bound = score_bound(round(row["pos_score"], 4), margin)
        assert all(round(score, 4) < bound for score in row["neg_score"])
        assert too_few == "random" or len(normal) == negatives
    assert result.table.num_rows + result.dropped.num_rows == len(rows) == result.counts["rows_in"]
