"""Vectors and corpora that mining cannot do much with: a defined result, or an error that helps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from artifacts.encoder import Vectors
from artifacts.errors import DatasetError
from mining.mine import mine
from tests.mining_pairs import ANIMALS, bag_of_words, by_number, make_pairs, options


@pytest.mark.parametrize("length", [np.nan, np.inf, 0.5, 2.0])
def test_a_vector_that_is_no_direction_names_its_text(length: float) -> None:
    """Scores of it would be NaN, or no cosines, and NaN compares as allowed or as not by chance."""

    def spoilt(texts: Sequence[str]) -> Vectors:
        vectors = bag_of_words(texts)
        vectors[texts.index("bees live in hives")] *= length
        return vectors

    with pytest.raises(DatasetError, match=rf"text 'bees live in hives' has length {length}"):
        mine(ANIMALS, False, spoilt, options())


def test_one_component_that_is_not_a_number_is_enough() -> None:
    def spoilt(texts: Sequence[str]) -> Vectors:
        vectors = bag_of_words(texts)
        vectors[3, 7] = np.nan
        return vectors

    with pytest.raises(DatasetError, match="has length nan"):
        mine(ANIMALS, False, spoilt, options())


def test_lengths_may_be_off_as_half_precision_makes_them() -> None:
    def halved(texts: Sequence[str]) -> Vectors:
        return bag_of_words(texts).astype(np.float16).astype(np.float32)

    exact, rough = (mine(ANIMALS, False, encode, options()) for encode in (bag_of_words, halved))
    assert exact.table["neg"] == rough.table["neg"]


@pytest.mark.parametrize("shape", [(9, 4), (10,), (10, 2, 2)])
def test_vectors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(DatasetError, match="for 10 texts: mining needs one vector a text"):
        mine(ANIMALS, False, lambda _: np.zeros(shape, np.float32), options())


def test_a_query_without_a_direction_gets_no_false_negative() -> None:
    """All its scores are 0, so nothing is below the bound: the row goes, nothing divides by 0."""
    pairs = make_pairs({"query": "  ", "pos": "an otter"}, {"query": "bees", "pos": "bees hum"})
    result = mine(pairs, False, bag_of_words, options())
    assert result.dropped["row_id"].to_pylist() == [0]
    free = mine(pairs, False, bag_of_words, options(margin=None, consistency=1))
    assert free.table.to_pylist()[0]["neg_score"] == [0.0]


@pytest.mark.parametrize("too_few", ["random", "drop"])
def test_a_single_document_leaves_no_negative(too_few: str) -> None:
    pairs = make_pairs({"query": "who swims", "pos": "an otter"})
    result = mine(pairs, False, bag_of_words, options(too_few=too_few, consistency=1))
    assert result.counts["dropped"] == {"too_few_negatives": 1}
    assert result.counts["pos_score"]["mean"] is None


@pytest.mark.parametrize("symmetric", [True, False])
def test_identical_texts_leave_no_negative(symmetric: bool) -> None:
    pairs = make_pairs(*({"query": "An otter", "pos": "an  OTTER"} for _ in range(6)))
    result = mine(pairs, symmetric, bag_of_words, options(margin=None, consistency=1))
    assert result.counts["dropped"] == {"too_few_negatives": 6}


def test_vectors_that_are_all_the_same_make_no_negative_likely() -> None:
    """Nothing scores below a margin; without one, the first texts tie for the first ranks."""
    pairs = make_pairs(*({"query": f"query {i}", "pos": f"1.0 {i}"} for i in range(5)))
    assert mine(pairs, False, by_number, options()).counts["dropped"] == {"too_few_negatives": 5}
    free = mine(pairs, False, by_number, options(margin=None, consistency=1)).table.to_pylist()
    assert [row["neg"] for row in free] == [["1.0 1"], *[["1.0 0"]] * 4]


def test_a_small_corpus_gives_what_it_has_or_drops() -> None:
    wide = {"negatives": 20, "consistency": 1000}
    kept = mine(ANIMALS, False, bag_of_words, options(**wide, too_few="random"))
    assert kept.counts["rows_out"] == 5
    assert 0 < max(len(row["neg"]) for row in kept.table.to_pylist()) <= 4
    dropped = mine(ANIMALS, False, bag_of_words, options(**wide, too_few="drop"))
    assert dropped.counts["dropped"] == {"too_few_negatives": 5}


def test_a_window_beyond_the_corpus_finds_nothing_by_rank() -> None:
    beyond = options(negatives=2, first_rank=50, candidates=60)
    result = mine(ANIMALS, False, bag_of_words, beyond)
    mined = sum(len(row["neg"]) for row in result.table.to_pylist())
    assert result.random.num_rows == mined > 0
    assert result.counts["excluded"]["rank"] == 5 * 5
