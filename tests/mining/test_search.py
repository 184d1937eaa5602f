"""Search decides every negative: a wrong or block-dependent neighbour changes the dataset."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.encoder import Vectors
from mining.search import cosines, on_grid, top_k


def _unit(vectors: np.ndarray) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def _random_unit(count: int, dim: int, seed: int) -> Vectors:
    return _unit(np.random.default_rng(seed).normal(size=(count, dim)))


@st.composite
def _unit_vectors(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    """Queries and corpus; coarse components and copies, so that ties and zeros are common."""
    dim = draw(st.integers(1, 6))
    fine = draw(st.booleans())
    number = st.floats(-1, 1, width=32) if fine else st.integers(-2, 2).map(float)
    row = st.lists(number, min_size=dim, max_size=dim)
    queries = draw(st.lists(row, min_size=1, max_size=6))
    corpus = draw(st.lists(row, min_size=1, max_size=25))
    corpus += draw(st.lists(st.sampled_from(corpus), max_size=10))
    return _unit(np.array(queries)), _unit(np.array(corpus))


def _by_argsort(queries: Vectors, corpus: Vectors, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All scores in exact integers, rounded to 1e-4, sorted whole, ties by lowest row."""
    left, right = (
        np.round(v.astype(np.float64) * 2**24).astype(np.int64) for v in (queries, corpus)
    )
    ticks = np.round((left @ right.T) * (1e4 / 2**48))
    rows = np.argsort(-ticks, axis=1, kind="stable")[:, :k]
    return rows, (np.take_along_axis(ticks, rows, axis=1) / 1e4).astype(np.float32)


@settings(deadline=None)
@given(_unit_vectors(), st.integers(1, 40), st.sampled_from([0, 1e-4, 3e-4, 1e-3, 16]))
def test_top_k_is_the_sorted_list_for_any_block_size(
    vectors: tuple[Vectors, Vectors], k: int, memory_mib: float
) -> None:
    queries, corpus = vectors
    rows, scores = top_k(queries, corpus, k, memory_mib, "cpu")
    expected_rows, expected_scores = _by_argsort(queries, corpus, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("dim", [37, 768])
def test_large_searches_do_not_depend_on_blocks(dim: int) -> None:
    queries, corpus = _random_unit(150, dim, seed=1), _random_unit(1300, dim, seed=2)
    whole = top_k(queries, corpus, 20, 512, "cpu")
    for memory_mib in (0.7, 2.1):
        blocked = top_k(queries, corpus, 20, memory_mib, "cpu")
        np.testing.assert_array_equal(blocked[0], whole[0])
        np.testing.assert_array_equal(blocked[1], whole[1])


@pytest.mark.parametrize("dim", [2, 768, 4096])
def test_products_on_the_grid_are_exact(dim: int) -> None:
    """What makes blocks, threads and devices agree: no sum is ever rounded."""
    left, right = on_grid(_random_unit(60, dim, seed=10)), on_grid(_random_unit(60, dim, seed=11))
    whole = left.long().numpy() @ right.long().numpy().T
    assert ((left @ right.T).long().numpy() == whole).all()
    assert ((right.flip(1) @ left.flip(1).T).T.long().numpy() == whole).all()


def test_scores_are_cosines_to_the_last_written_digit() -> None:
    queries, corpus = _random_unit(20, 384, seed=3), _random_unit(300, 384, seed=4)
    rows, scores = top_k(queries, corpus, 300, 16, "cpu")
    true = np.take_along_axis(queries.astype(np.float64) @ corpus.T.astype(np.float64), rows, 1)
    assert np.abs(scores - true).max() < 0.52e-4


def test_pair_scores_are_the_search_scores() -> None:
    """The score written beside a native negative and a mined one must be the same number."""
    vectors = _random_unit(200, 64, seed=5)
    rows, scores = top_k(vectors[:20], vectors, 200, 0.1, "cpu")
    queries = np.repeat(np.arange(20), 200)
    np.testing.assert_array_equal(cosines(vectors, queries, rows.ravel()), scores.ravel())


def test_equal_scores_come_by_lowest_row() -> None:
    corpus = np.repeat(_random_unit(1, 8, seed=6), 50, axis=0)
    rows, scores = top_k(corpus[:3], corpus, 7, 1e-3, "cpu")
    assert rows.tolist() == [list(range(7))] * 3
    assert scores.tolist() == [[1.0] * 7] * 3


def test_a_zero_vector_is_similar_to_nothing() -> None:
    rows, scores = top_k(np.zeros((1, 4), np.float32), _random_unit(9, 4, seed=7), 3, 16, "cpu")
    assert (rows.tolist(), scores.tolist()) == ([[0, 1, 2]], [[0.0] * 3])


@pytest.mark.parametrize(("queries", "corpus"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_search_is_an_empty_result(queries: int, corpus: int) -> None:
    rows, scores = top_k(
        _random_unit(queries, 3, seed=8), _random_unit(corpus, 3, seed=9), 4, 16, "cpu"
    )
    assert rows.shape == scores.shape == (queries, min(4, corpus))
