"""The plan decides what the model sees; devices that disagree on it would train on a mixture."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.errors import InputError
from artifacts.keys import Spec
from tests.plan_tables import Table, options_of, tables_of
from training.chunks import chunks, computed_tokens
from training.options import TrainingOptions
from training.plan import Plan, PlannedBatch, plan_spec, write_plan
from training.token_store import TokenTable


def plan_of(tables: dict[str, TokenTable], options: TrainingOptions, world_size: int = 1) -> Plan:
    with tempfile.TemporaryDirectory() as folder:
        write_plan(tables, options, world_size, Path(folder))
        return Plan(Path(folder))


def batches_of(plan: Plan) -> list[PlannedBatch]:
    return [plan.batch(step) for step in range(1, plan.steps + 1)]


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(0, 99))
def test_the_devices_shares_make_up_the_batch(size: int, world_size: int, seed: int) -> None:
    rows = np.random.default_rng(seed).permutation(100)[:size]
    shares = [PlannedBatch("a", rows).share(rank, world_size) for rank in range(world_size)]
    assert sorted(np.concatenate(shares).tolist()) == sorted(rows.tolist())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_devices_have_about_equally_many_tokens() -> None:
    """The slowest device sets the pace of all."""
    falling = PlannedBatch("a", np.arange(8, 0, -1))
    assert [falling.share(rank, 2).sum() for rank in range(2)] == [18, 18]
    tables = tables_of({"a": 333}, spread=400)
    plan = plan_of(tables, options_of(batch_rows=8, steps=30), world_size=4)
    for batch in batches_of(plan):
        tokens = tables["a"].lengths_RS[batch.rows].sum(axis=1)
        shares = [
            tables["a"].lengths_RS[batch.share(rank, 4)].sum(axis=1).sum() for rank in range(4)
        ]
        assert max(shares) - min(shares) <= tokens.max()
    assert len(batch.rows) > 28


def test_another_world_size_covers_the_same_rows() -> None:
    tables = tables_of({"a": 50, "b": 7})
    plans = [plan_of(tables, options_of(steps=s, held_out=0.2), w) for s, w in ((12, 1), (5, 3))]
    seen = [
        {(batch.dataset, int(row)) for batch in batches_of(plan) for row in batch.rows}
        for plan in plans
    ]
    assert seen[0] == seen[1]
    assert len(seen[0]) == 40 + 6
    for name in tables:
        assert plans[0].held_out[name].tolist() == plans[1].held_out[name].tolist()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=40),
    st.floats(0, 0.99),
    st.integers(0, 99),
)
def test_held_out_queries_are_never_trained_on(queries: list[int], share: float, seed: int) -> None:
    """A row with the query of a held-out one would give its answer away."""
    table = Table("a", np.full((len(queries), 3), 5), np.array(queries))
    plan = plan_of({"a": table}, options_of(held_out=share, seed=seed, steps=30))
    held_out = set(plan.held_out["a"].tolist())
    trained = {int(row) for batch in batches_of(plan) for row in batch.rows}
    assert trained | held_out == set(range(len(queries)))
    assert not {queries[row] for row in held_out} & {queries[row] for row in trained}
    assert trained and len(held_out) <= share * len(queries)


def test_the_held_out_share_is_drawn_by_the_seed() -> None:
    tables = tables_of({"a": 100, "b": 100})
    plans = [plan_of(tables, options_of(held_out=0.1, seed=seed)) for seed in (0, 1)]
    assert [len(plans[0].held_out[name]) for name in "ab"] == [10, 10]
    assert plans[0].held_out["a"].tolist() != plans[1].held_out["a"].tolist()
    assert plans[0].held_out["a"].tolist() != plans[0].held_out["b"].tolist()


def test_the_counts_are_those_of_the_steps(tmp_path: Path) -> None:
    tables = tables_of({"a": 33, "b": 8, "none": 0})
    options = options_of(steps=20, held_out=0.1, chunk_tokens=100)
    counts = write_plan(tables, options, 2, tmp_path)
    plan = Plan(tmp_path)
    batches = batches_of(plan)
    lengths = [
        tables[b.dataset].lengths_RS[b.share(r, 2)].reshape(-1) for b in batches for r in (0, 1)
    ]
    tokens = sum(int(n.sum()) for n in lengths)
    computed = sum(computed_tokens(n, chunks(n, 100)) for n in lengths)
    assert plan.datasets == ["a", "b", "none"]
    assert counts == {
        "steps": 20,
        "rows": sum(len(batch.rows) for batch in batches),
        "epochs": 4.0,  # of 4 + 1 batches
        "tokens": tokens,
        "computed_tokens": computed,
        "padding_efficiency": round(tokens / computed, 4),
        "held_out": 3,
    }


def test_the_same_plan_has_the_same_bytes(tmp_path: Path) -> None:
    """Else two machines would disagree on one key."""
    files = []
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        (tmp_path / name).mkdir()
        options = options_of(seed=seed, held_out=0.1)
        write_plan(tables_of({"a": 50, "b": 20}), options, 2, tmp_path / name)
        files.append({p.name: p.read_bytes() for p in sorted((tmp_path / name).iterdir())})
    assert files[0] == files[1]
    assert files[0]["rows.npy"] != files[2]["rows.npy"]


def test_a_batch_larger_than_the_dataset_is_one_smaller_batch() -> None:
    plan = plan_of(tables_of({"a": 5}), options_of(batch_rows=64, steps=2), world_size=8)
    assert [len(batch.rows) for batch in batches_of(plan)] == [5, 5]
    assert [len(plan.batch(1).share(rank, 8)) for rank in range(8)] == [1] * 5 + [0] * 3


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rows in any of the 1 datasets"):
        write_plan(tables_of({"a": 0}), options_of(), 1, tmp_path)


def test_a_step_outside_the_plan_is_refused() -> None:
    plan = plan_of(tables_of({"a": 5}), options_of(steps=2))
    assert plan.batch(2).dataset == "a"
    for step in (0, 3):
        with pytest.raises(IndexError, match=f"step {step}: the plan has steps 1 to 2"):
            plan.batch(step)


def test_a_plan_is_made_again_where_it_would_differ() -> None:
    tokens = {name: Spec("tokens", name, 1, {}) for name in "ab"}
    key = plan_spec(tokens, options_of(), 2).key
    assert plan_spec(tokens, options_of(learning_rate=1.0, loss="gte"), 2).key == key
    others = [
        plan_spec(tokens, options_of(), 1),
        plan_spec({"a": tokens["a"]}, options_of(), 2),
        plan_spec({**tokens, "b": Spec("tokens", "b", 2, {})}, options_of(), 2),
        *(
            plan_spec(tokens, options_of(**{name: value}), 2)
            for name, value in {
                "steps": 51, "batch_rows": 5, "batch_tokens": 999, "sampling_temperature": 2,
                "bucket_batches": 9, "held_out": 0.1, "seed": 1, "chunk_tokens": 99,
            }.items()
        ),
    ]  # fmt: skip
    assert len({key, *(spec.key for spec in others)}) == 1 + len(others)
