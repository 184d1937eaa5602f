"""Batches of one dataset that use every row, and meet chance as far as they can."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan_tables import Table, options_of, tables_of
from training.chunks import Indices
from training.plan import PlannedBatch
from training.plan_draw import draw_steps, epochs
from training.token_store import TokenTable

SIZES = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 40), min_size=1)


def all_rows(tables: dict[str, TokenTable]) -> dict[str, Indices]:
    return {name: np.arange(len(table)) for name, table in tables.items() if len(table)}


def sets(batches: list[Indices]) -> list[list[int]]:
    return [sorted(batch.tolist()) for batch in batches]


@settings(max_examples=40, deadline=None)
@given(SIZES, st.integers(1, 8), st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**40))
def test_an_epoch_holds_every_row_once(
    sizes: dict[str, int], batch_rows: int, world_size: int, bucket: int, seed: int
) -> None:
    """A row left out is data not trained on, and one twice counts double."""
    if not any(sizes.values()):
        return
    tables = tables_of(sizes)
    options = options_of(batch_rows=batch_rows, bucket_batches=bucket, seed=seed)
    counts = {n: -(-r // (batch_rows * world_size)) for n, r in sizes.items() if r}
    drawn = draw_steps(tables, all_rows(tables), options, world_size)
    for _ in range(3):
        epoch = list(islice(drawn, sum(counts.values())))
        assert Counter(name for name, _ in epoch) == counts
        for name in counts:
            batches = [rows for n, rows in epoch if n == name]
            assert sorted(np.concatenate(batches).tolist()) == list(range(sizes[name]))
            lengths = [len(rows) for rows in batches]
            assert max(lengths) - min(lengths) <= 1
            assert max(lengths) <= batch_rows * world_size


def test_each_epoch_is_another_order_and_other_neighbours() -> None:
    """Rows of like length that always met would be each other's in-batch negatives for ever."""
    (table,) = tables_of({"a": 300}, spread=400).values()
    drawn = epochs(table, np.arange(300), options_of(batch_rows=30), 1)
    first, second = next(drawn), next(drawn)
    assert sets(first) != sets(second)
    met = [{p for b in sets(e) for p in combinations(b, 2)} for e in (first, second)]
    assert len(met[0] & met[1]) < 0.4 * len(met[0])  # 0.8 where lengths alone decide


def test_rows_of_like_length_are_together() -> None:
    """Else a short row is padded to a long one that chance put beside it."""
    table = Table("a", np.random.default_rng(0).integers(5, 400, (640, 1)).repeat(3, axis=1))

    def padded(bucket: int) -> int:
        options = options_of(batch_rows=8, bucket_batches=bucket)
        batches = next(epochs(table, np.arange(640), options, 1))
        return sum(int(table.lengths_RS[rows].max()) * len(rows) for rows in batches)

    real = int(table.lengths_RS[:, 0].sum())
    assert padded(1) > 1.6 * real
    assert padded(32) < 1.2 * real


def test_lengths_decide_nothing_beyond_a_stretch() -> None:
    """With stretches of one batch the same rows meet, whatever their lengths are."""
    short, long = Table("a", np.full((50, 3), 5)), tables_of({"a": 50}, spread=400)["a"]
    options = options_of(bucket_batches=1)
    drawn = [epochs(table, np.arange(50), options, 1) for table in (short, long)]
    assert sets(next(drawn[0])) == sets(next(drawn[1]))


def test_a_new_dataset_leaves_the_order_of_the_others_alone() -> None:
    options = options_of()
    few, more = tables_of({"a": 40, "c": 30}), tables_of({"a": 40, "c": 30})
    more["b"] = tables_of({"b": 25})["b"]
    before = list(islice(draw_steps(few, all_rows(few), options, 1), 18))
    after = [
        step for step in islice(draw_steps(more, all_rows(more), options, 1), 25) if step[0] != "b"
    ]
    assert [(n, r.tolist()) for n, r in before] == [(n, r.tolist()) for n, r in after]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_datasets_come_as_the_temperature_says(temperature: float) -> None:
    sizes = {"large": 1600, "middle": 401, "small": 100}
    tables = tables_of(sizes)
    options = options_of(sampling_temperature=temperature)
    rows: Counter[str] = Counter()
    for name, batch in islice(draw_steps(tables, all_rows(tables), options, 1), 5260):
        rows[name] += len(batch)
    expected = {name: size ** (1 / temperature) for name, size in sizes.items()}
    for name in sizes:
        share = expected[name] / sum(expected.values())
        assert rows[name] / sum(rows.values()) == pytest.approx(share, rel=0.02)


def test_a_dataset_drawn_more_often_still_uses_every_row_before_any_again() -> None:
    tables = tables_of({"large": 400, "small": 20})
    options = options_of(sampling_temperature=5.0)
    steps = islice(draw_steps(tables, all_rows(tables), options, 1), 200)
    small = [rows for name, rows in steps if name == "small"]
    assert len(small) > 20
    for start in range(0, len(small) - 5, 5):
        assert sorted(np.concatenate(small[start : start + 5]).tolist()) == list(range(20))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 120),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(1, 900),
    st.integers(0, 9),
)
def test_a_token_budget_holds_on_every_device(
    size: int, batch_rows: int, world_size: int, budget: int, seed: int
) -> None:
    lengths_RS = np.random.default_rng(seed).integers(1, 120, (size, 3))
    table = Table("a", lengths_RS)
    options = options_of(batch_rows=batch_rows, batch_tokens=budget, bucket_batches=4, seed=seed)
    batches = next(epochs(table, np.arange(size), options, world_size))
    assert sorted(np.concatenate(batches).tolist()) == list(range(size))
    for rows in batches:
        shares = [PlannedBatch("a", rows).share(rank, world_size) for rank in range(world_size)]
        assert max(map(len, shares)) <= batch_rows
        assert all(len(s) <= 1 or lengths_RS[s].sum() <= budget for s in shares)


def test_a_token_budget_leaves_no_small_batch_over() -> None:
    table = Table("a", np.full((130, 3), 10))
    for budget in (64 * 30, 10**9):  # 64 rows, by tokens and by rows
        options = options_of(batch_rows=64, batch_tokens=budget)
        sizes = sorted(len(rows) for rows in next(epochs(table, np.arange(130), options, 1)))
        assert sizes[0] >= 42 and len(sizes) == 3
