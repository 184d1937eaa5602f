"""The plan decides what the model sees; devices that disagree on it would train on a mixture."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.plan import PlannedBatch, plan_batches

SIZES = st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(0, 40), min_size=1)
ONE_EPOCH = 500  # more steps than any epoch here has


def epochs_of(
    sizes: dict[str, int], plan: list[PlannedBatch], world_size: int
) -> list[list[PlannedBatch]]:
    """Cuts a plan where every dataset has had all its rows (and the few that repeat)."""
    whole = sum(-(-size // world_size) * world_size for size in sizes.values())
    epochs: list[list[PlannedBatch]] = [[]]
    for batch in plan:
        if sum(len(b.rows) for b in epochs[-1]) == whole:
            epochs.append([])
        epochs[-1].append(batch)
    return epochs


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 8), st.integers(1, 4), st.integers(0, 99))
def test_an_epoch_holds_every_row(
    sizes: dict[str, int], batch_rows: int, world_size: int, seed: int
) -> None:
    if not any(sizes.values()):
        return
    plan = plan_batches(sizes, batch_rows, world_size, ONE_EPOCH, seed)
    assert len(plan) == ONE_EPOCH
    for epoch in epochs_of(sizes, plan, world_size)[:-1]:
        seen: dict[str, Counter[int]] = defaultdict(Counter)
        for batch in epoch:
            seen[batch.dataset].update(batch.rows.tolist())
        assert set(seen) == {name for name, size in sizes.items() if size}
        for name, counts in seen.items():
            assert set(counts) == set(range(sizes[name]))
            assert counts.total() - sizes[name] == -sizes[name] % world_size


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(1, 8), st.integers(1, 4), st.integers(0, 99))
def test_every_device_gets_as_many_different_rows(
    sizes: dict[str, int], batch_rows: int, world_size: int, seed: int
) -> None:
    if not any(sizes.values()):
        return
    for batch in plan_batches(sizes, batch_rows, world_size, 50, seed):
        shares = [batch.rows[rank::world_size].tolist() for rank in range(world_size)]
        assert {len(share) for share in shares} == {len(batch.rows) // world_size}
        assert all(1 <= len(share) <= batch_rows for share in shares)
        assert all(len(set(share)) == len(share) for share in shares)


def test_batches_of_a_dataset_are_equally_large() -> None:
    """600 rows at 512 a step: two of 300, not one of 512 and a weak one of 88."""
    plan = plan_batches({"task": 600}, 64, 8, 2, seed=0)
    assert [len(batch.rows) for batch in plan] == [296, 304]


def test_another_order_each_epoch_and_the_same_plan_again() -> None:
    first, second = (plan_batches({"a": 64, "b": 32}, 8, 1, 24, seed=3) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.dataset == other.dataset
        np.testing.assert_array_equal(one.rows, other.rows)
    epochs = [[(b.dataset, *b.rows.tolist()) for b in part] for part in (first[:12], first[12:])]
    assert epochs[0] != epochs[1]
    assert set(epochs[0]) != set(epochs[1])


def test_a_new_dataset_leaves_the_others_batches_as_they_were() -> None:
    before = plan_batches({"a": 30}, 8, 1, 4, seed=1)
    after = plan_batches({"a": 30, "b": 9}, 8, 1, 6, seed=1)
    rows = {tuple(batch.rows.tolist()) for batch in before}
    assert rows == {tuple(b.rows.tolist()) for b in after if b.dataset == "a"}


def test_no_rows_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="no dataset has rows"):
        plan_batches({"a": 0}, 8, 1, 6, seed=1)
