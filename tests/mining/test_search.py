"""Search decides every negative: a wrong or block-dependent neighbour changes the dataset."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.encoder import VectorRows, Vectors
from artifacts.errors import DatasetError, InputError
from mining.search import cosines, on_grid, top_k


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _unit(vectors: np.ndarray) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1)).astype(np.float32)


def _random_unit(count: int, dim: int, seed: int) -> Vectors:
    return _unit(np.random.default_rng(seed).normal(size=(count, dim)))


def _rounded_to_grid(vectors: np.ndarray) -> Vectors:
    return (np.round(vectors * 2.0**24) / 2.0**24).astype(np.float32)


def _with_ties(count: int, dim: int, seed: int, noise: float) -> Vectors:
    """A quarter of the rows again, three times over and `noise` away from the first, shuffled."""
    draw = np.random.default_rng(seed)
    first = draw.normal(size=(-(-count // 4), dim)).round(draw.integers(0, 3))
    copies = np.tile(first, (4, 1))[:count]
    return _unit(draw.permutation(copies + noise * draw.normal(size=copies.shape)))


@st.composite
def _few_vectors(draw: st.DrawFn) -> tuple[Vectors, Vectors]:
    """Queries and corpus; coarse components and copies, so that ties and zeros are common."""
    dim = draw(st.integers(1, 6))
    fine = draw(st.booleans())
    number = st.floats(-1, 1, width=32) if fine else st.integers(-2, 2).map(float)
    row = st.lists(number, min_size=dim, max_size=dim)
    queries = draw(st.lists(row, min_size=1, max_size=6))
    corpus = draw(st.lists(row, min_size=1, max_size=25))
    corpus += draw(st.lists(st.sampled_from(corpus), max_size=10))
    return _unit(np.array(queries)), _unit(np.array(corpus))


@st.composite
def _many_vectors(draw: st.DrawFn) -> tuple[VectorRows, VectorRows]:
    """So many that most are only looked at in fp32, with ties that fp32 cannot tell apart."""
    seed, dim = draw(st.integers(0, 2**32)), draw(st.integers(1, 48))
    noise = draw(st.sampled_from([0.0, 1e-7, 1e-5, 1e-4, 1e-2]))
    corpus = _with_ties(draw(st.integers(150, 2500)), dim, seed, noise)
    near = corpus[np.random.default_rng(seed).integers(0, len(corpus), 12)]
    queries = np.concatenate([near, _random_unit(8, dim, seed + 1)])
    precision = draw(st.sampled_from([np.float32, np.float16]))
    return queries.astype(precision), corpus.astype(precision)


def _ticks(queries: VectorRows, corpus: VectorRows) -> np.ndarray:
    """All scores in exact integers, in units of 1e-4."""
    left, right = (
        np.round(v.astype(np.float64) * 2**24).astype(np.int64) for v in (queries, corpus)
    )
    return np.round((left @ right.T) * (1e4 / 2**48))


def _by_argsort(queries: VectorRows, corpus: VectorRows, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All scores sorted whole, ties by lowest row."""
    ticks = _ticks(queries, corpus)
    rows = np.argsort(-ticks, axis=1, kind="stable")[:, :k]
    return rows, (np.take_along_axis(ticks, rows, axis=1) / 1e4).astype(np.float32)


def _assert_sorted_list(queries: VectorRows, corpus: VectorRows, k: int, memory_mib: float) -> None:
    rows, scores = top_k(queries, corpus, k, memory_mib, "cpu")
    expected_rows, expected_scores = _by_argsort(queries, corpus, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)
    assert (rows.dtype, scores.dtype) == (np.int64, np.float32)


@given(_few_vectors(), st.integers(1, 40))
def test_a_small_search_is_the_sorted_list(vectors: tuple[Vectors, Vectors], k: int) -> None:
    _assert_sorted_list(*vectors, k, 16)


@settings(deadline=None)
@given(_many_vectors(), st.integers(1, 20), st.sampled_from([0.1, 0.2, 0.5, 16]))
def test_top_k_is_the_sorted_list_for_any_block_size(
    vectors: tuple[VectorRows, VectorRows], k: int, memory_mib: float
) -> None:
    _assert_sorted_list(*vectors, k, memory_mib)


@pytest.mark.parametrize("dim", [37, 768])
def test_large_searches_depend_on_neither_blocks_nor_threads(dim: int, threads: None) -> None:
    queries, corpus = _with_ties(150, dim, 1, 1e-6), _with_ties(4000, dim, 2, 1e-6)
    corpus[1000:3000:9] = queries[:50].repeat(5, axis=0)[: len(corpus[1000:3000:9])]
    whole = top_k(queries, corpus, 20, 512, "cpu")
    for memory_mib, count in ((1.5, 1), (4, 2), (512, 1)):
        torch.set_num_threads(count)
        rows, scores = top_k(queries, corpus, 20, memory_mib, "cpu")
        np.testing.assert_array_equal(rows, whole[0])
        np.testing.assert_array_equal(scores, whole[1])


def test_a_row_that_fp32_puts_on_the_wrong_side_of_a_rounding_is_found() -> None:
    """All score about 0.50005. The first row is 0.5001, as the last is, but in fp32 it comes after
    all those between, which are 0.5."""
    dim, score = 768, 0.50005
    query = _rounded_to_grid(np.repeat(_random_unit(1, dim, seed=14), 16, axis=0))
    aside = np.random.default_rng(13).normal(size=(101 * 202, dim))
    aside -= (aside @ query[0])[:, None] * query[0]
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    near = score * query[0] + (1 - score**2) ** 0.5 * aside
    near = _rounded_to_grid(near)
    ticks = _ticks(query[:1], near)[0]
    parts = torch.tensor(near).split(202)  # shaped like the search, for the same rounding
    in_fp32 = torch.cat([torch.tensor(query) @ part.T for part in parts], dim=1).numpy()[0]
    above, below = (np.flatnonzero(ticks == tick) for tick in (5001, 5000))
    first, last = above[in_fp32[above].argmin()], above[in_fp32[above].argmax()]
    between = below[(in_fp32[below] > in_fp32[first]) & (in_fp32[below] < score)][:200]
    _assert_sorted_list(query, near[[first, *between, last]], 1, 16)


def test_identical_texts_are_found_in_the_order_of_their_rows() -> None:
    corpus = np.repeat(_random_unit(1, 8, seed=6), 5000, axis=0)
    for memory_mib in (0.1, 16):
        rows, scores = top_k(corpus[:3], corpus, 7, memory_mib, "cpu")
        assert rows.tolist() == [list(range(7))] * 3
        assert scores.tolist() == [[1.0] * 7] * 3


def test_stored_vectors_are_searched_where_they_lie(tmp_path: Path) -> None:
    """Embeddings are fp16 and read-only; the result is that of the same numbers as fp32."""
    queries, corpus = (_random_unit(n, 24, seed=n).astype(np.float16) for n in (30, 1500))
    np.save(tmp_path / "corpus.npy", corpus)
    stored = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    found = top_k(queries, stored, 10, 0.5, "cpu")
    expected = top_k(queries.astype(np.float32), corpus.astype(np.float32), 10, 16, "cpu")
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_a_lower_precision_of_the_process_does_not_reach_the_search(precision: str) -> None:
    queries, corpus = _with_ties(20, 32, 1, 1e-6), _with_ties(2000, 32, 2, 1e-6)
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            _assert_sorted_list(queries, corpus, 9, 16)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("dim", [2, 768, 4096])
def test_products_on_the_grid_are_exact(dim: int) -> None:
    """What makes blocks, threads and devices agree: no sum is ever rounded."""
    left, right = (
        on_grid(torch.tensor(_random_unit(60, dim, seed))).to(torch.float64) for seed in (10, 11)
    )
    whole = left.long().numpy() @ right.long().numpy().T
    assert ((left @ right.T).long().numpy() == whole).all()
    assert ((right.flip(1) @ left.flip(1).T).T.long().numpy() == whole).all()


def test_scores_are_cosines_to_the_last_written_digit() -> None:
    queries, corpus = _random_unit(20, 384, seed=3), _random_unit(300, 384, seed=4)
    rows, scores = top_k(queries, corpus, 300, 16, "cpu")
    true = np.take_along_axis(queries.astype(np.float64) @ corpus.T.astype(np.float64), rows, 1)
    assert np.abs(scores - true).max() < 0.52e-4


@pytest.mark.parametrize("precision", [np.float32, np.float16])
def test_pair_scores_are_the_search_scores(precision: type) -> None:
    """The score written beside a native negative and a mined one must be the same number."""
    vectors = _random_unit(200, 64, seed=5).astype(precision)
    rows, scores = top_k(vectors[:20], vectors, 200, 1, "cpu")
    queries = np.repeat(np.arange(20), 200)
    np.testing.assert_array_equal(cosines(vectors, queries, rows.ravel()), scores.ravel())


def test_a_zero_vector_is_similar_to_nothing() -> None:
    rows, scores = top_k(np.zeros((1, 4), np.float32), _random_unit(9, 4, seed=7), 3, 16, "cpu")
    assert (rows.tolist(), scores.tolist()) == ([[0, 1, 2]], [[0.0] * 3])


@pytest.mark.parametrize(("queries", "corpus"), [(0, 5), (5, 0), (0, 0), (5, 1)])
def test_little_to_search_gives_as_much(queries: int, corpus: int) -> None:
    rows, scores = top_k(
        _random_unit(queries, 3, seed=8), _random_unit(corpus, 3, seed=9), 4, 16, "cpu"
    )
    assert rows.shape == scores.shape == (queries, min(4, corpus))


@pytest.mark.parametrize("number", [np.nan, np.inf, 1.5])
def test_a_vector_that_has_no_cosine_is_named(number: float) -> None:
    vectors = _random_unit(3000, 5, seed=12)
    vectors[2900, 1] = number
    with pytest.raises(DatasetError, match="vector 2900 of the corpus has length"):
        top_k(vectors[:9], vectors, 4, 0.1, "cpu")
    with pytest.raises(DatasetError, match="vector 2900 of the texts has length"):
        cosines(vectors, np.array([3, 4, 5]), np.array([3, 2900, 5]))


def test_vectors_of_two_encoders_are_refused() -> None:
    with pytest.raises(InputError, match="queries have 3 dimensions and the corpus has 4"):
        top_k(_random_unit(2, 3, seed=1), _random_unit(2, 4, seed=1), 1, 16, "cpu")


def test_memory_too_small_for_one_block_says_what_is_needed() -> None:
    vectors = _random_unit(500, 768, seed=1)
    with pytest.raises(InputError, match=r"memory_mib=0\.25 .* one block takes 0\.587 MiB"):
        top_k(vectors, vectors, 10, 0.25, "cpu")
    assert top_k(vectors, vectors, 10, 0.7, "cpu")[0].shape == (500, 10)


_PEAK = """
import resource, numpy as np
from mining.search import top_k
def unit(count):
    vectors = np.random.default_rng(count).standard_normal((count, 64), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
queries, corpus = unit(3000), unit(30000)
corpus[10000:12000] = corpus[0]
queries[::2] = corpus[0]
top_k(queries[:64], corpus[:64], 4, 16, "cpu")
before = peak()
top_k(queries, corpus, 32, 32, "cpu")
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in KiB on Linux only")
def test_a_search_stays_within_its_memory() -> None:
    """All scores together would be 343 MiB; half of the queries have 2,000 equals."""
    root = Path(__file__).resolve().parents[2]
    run = subprocess.run(
        [sys.executable, "-c", _PEAK], cwd=root, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 32
