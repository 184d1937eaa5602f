"""Chunks bound the memory of a forward pass, and every device must make equally many of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.chunks import OVERHEAD, Indices, chunks, computed_tokens

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=300)


def cost(lengths_N: Indices, groups: list[Indices], overhead: int = OVERHEAD) -> int:
    return computed_tokens(lengths_N, groups) + overhead * len(groups)


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """Every way to put the items into groups."""
    if not items:
        yield []
        return
    for rest in partitions(items[1:]):
        yield [[items[0]], *rest]
        for i, group in enumerate(rest):
            yield [*rest[:i], [items[0], *group], *rest[i + 1 :]]


def test_computed_tokens_count_the_padding() -> None:
    lengths_N = np.array([3, 5, 9])
    assert computed_tokens(lengths_N, [np.array([0, 1]), np.array([2])]) == 2 * 5 + 9


@settings(max_examples=80, deadline=None)
@given(LENGTHS, st.integers(1, 2000))
def test_every_text_is_in_one_chunk_that_fits(lengths: list[int], budget: int) -> None:
    """A chunk over the budget is out of memory; a text in none of them is not trained on."""
    lengths_N = np.array(lengths)
    groups = chunks(lengths_N, budget)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * lengths_N[group].max() <= budget
    longest = [int(lengths_N[group].max()) for group in groups]
    assert longest == sorted(longest, reverse=True)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=7), st.integers(20, 200), st.integers(0, 30)
)
def test_no_other_chunks_compute_less(lengths: list[int], budget: int, overhead: int) -> None:
    lengths_N = np.array(lengths)
    best: dict[int, int] = {}
    for groups in partitions(list(range(len(lengths)))):
        arrays = [np.array(group) for group in groups]
        if all(len(g) == 1 or len(g) * lengths_N[g].max() <= budget for g in arrays):
            price = cost(lengths_N, arrays, overhead)
            best[len(arrays)] = min(price, best.get(len(arrays), price))
    found = chunks(lengths_N, budget, overhead=overhead)
    assert cost(lengths_N, found, overhead) == min(best.values())
    for count, price in best.items():
        assert cost(lengths_N, chunks(lengths_N, budget, count, overhead), overhead) == price


@settings(max_examples=80, deadline=None)
@given(LENGTHS, st.integers(1, 2000), st.integers(0, 400))
def test_as_many_chunks_as_the_other_devices_have(
    lengths: list[int], budget: int, more: int
) -> None:
    """One chunk too few on one device, and the others wait for it for ever."""
    lengths_N = np.array(lengths)
    count = len(chunks(lengths_N, budget)) + more
    groups = chunks(lengths_N, budget, count)
    assert len(groups) == min(count, len(lengths))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    assert all(len(g) == 1 or len(g) * lengths_N[g].max() <= budget for g in groups)


def test_texts_of_one_length_are_split_as_often_as_asked() -> None:
    groups = chunks(np.full(300, 7), 10**6, count=100)
    assert sorted(map(len, groups))[0] >= 1 and len(groups) == 100
    assert sum(map(len, groups)) == 300


def test_texts_of_a_large_batch_are_cut_nearly_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    lengths_N = np.concatenate([random.integers(10, 40, 200), random.integers(30, 500, 400)])
    coarse = cost(lengths_N, chunks(lengths_N, 8192))
    monkeypatch.setattr("training.chunks._FINE", 1000)
    assert coarse <= 1.002 * cost(lengths_N, chunks(lengths_N, 8192))


def test_too_few_chunks_for_the_budget_are_refused() -> None:
    with pytest.raises(ValueError, match="1 groups of at most 50 tokens cannot hold"):
        chunks(np.array([30, 30]), 50, count=1)


def test_no_texts_make_no_chunks() -> None:
    assert chunks(np.array([], dtype=np.int64), 100) == []
    assert chunks(np.array([], dtype=np.int64), 100, count=2) == []
