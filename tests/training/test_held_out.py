"""The held-out scores must be what a reader of "nDCG@10" takes them for, ties and all."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from training.held_out import HeldOutScore, best, mean, record, score

torch.set_num_threads(1)


def table(keys: Any, in_batch_negatives: bool = True) -> Any:
    keys_RS = np.array(keys, dtype=np.int64)
    return SimpleNamespace(dataset="alpha", in_batch_negatives=in_batch_negatives, keys_RS=keys_RS)


def embedder(table: Any, vectors: dict[tuple[bool, int], list[float]]) -> Any:
    """Looks a text's vector up by (is it a query, its key)."""

    def embed(rows_N: Any, slots_N: Any) -> torch.Tensor:
        keys_N = table.keys_RS[rows_N, slots_N]
        pairs = zip(slots_N, keys_N, strict=True)
        return torch.tensor([vectors[slot == 0, int(key)] for slot, key in pairs])

    return embed


def order_of(cosines: list[float], documents: list[int]) -> list[int]:
    return sorted(documents, key=lambda document: (-cosines[document], document))


def plain_score(table: Any, rows: list[int], vectors: Any) -> tuple[float, float]:
    """The definition, a text at a time: (accuracy, nDCG@10)."""
    held = [[int(key) for key in table.keys_RS[row]] for row in rows]
    numbers: dict[int, int] = {}
    for key in [key for row in held for key in row[2:]] + [row[1] for row in held]:
        numbers.setdefault(key, len(numbers))

    def cosines(query: int) -> list[float]:
        one = vectors[True, query]
        products = (math.fsum(np.multiply(one, vectors[False, key])) for key in numbers)
        return [round(product, 6) for product in products]

    right, ndcgs = 0, {}
    for position, (query, positive, *negatives) in enumerate(held):
        mates = [row for row in held if row[0] == query]
        relevant = {numbers[row[1]] for row in mates}
        batch = held[position // 64 * 64 :][:64] if table.in_batch_negatives else []
        rivals = {numbers[row[1]] for row in batch} | {numbers[key] for key in negatives}
        own = numbers[positive]
        right += order_of(cosines(query), [*(rivals - relevant), own])[0] == own
        ranked = numbers if table.in_batch_negatives else {k: 0 for row in mates for k in row[1:]}
        order = order_of(cosines(query), [numbers[key] for key in ranked])
        gain = sum(1 / math.log2(i + 2) for i, d in enumerate(order[:10]) if d in relevant)
        ndcgs[query] = gain / sum(1 / math.log2(i + 2) for i in range(min(10, len(relevant))))
    return right / len(held), sum(ndcgs.values()) / len(ndcgs)


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(1, 150),
    keys=st.integers(2, 300),
    levels=st.integers(1, 5),
    negatives=st.integers(1, 3),
    in_batch=st.booleans(),
)
def test_equals_plain_loops(
    seed: int, rows: int, keys: int, levels: int, negatives: int, in_batch: bool
) -> None:
    """Repeated queries and documents, negatives that are positives elsewhere, equal cosines."""
    random = np.random.default_rng(seed)
    whole = table(random.integers(0, keys, (rows, 2 + negatives)), in_batch)
    held = random.permutation(rows)[: random.integers(1, rows + 1)]
    drawn = random.integers(-levels, levels + 1, (2, keys, 3)).astype(float)
    vectors = {(side, key): drawn[int(side), key].tolist() for side, key in np.ndindex(2, keys)}
    got = score(embedder(whole, vectors), whole, held)
    expected = plain_score(whole, held.tolist(), vectors)
    assert (got.accuracy, got.ndcg_at_10) == pytest.approx(expected, abs=1e-12)
    assert got.rows == len(held)


def random_vectors(seed: int, width: int = 8) -> dict[tuple[bool, int], list[float]]:
    random = np.random.default_rng(seed)
    raw = random.standard_normal((2, 400, width))
    unit = raw / np.linalg.norm(raw, axis=2, keepdims=True)
    return {
        (side, key): unit[int(side), key].tolist() for side in (True, False) for key in range(400)
    }


def test_equals_sklearns_ndcg() -> None:
    """150 rows are more than two batches; some queries have two positives."""
    random = np.random.default_rng(0)
    keys = random.permutation(400)[:300].reshape(150, 2)
    whole = table(np.column_stack([np.arange(150) % 120, keys]))
    vectors = random_vectors(1)
    got = score(embedder(whole, vectors), whole, np.arange(150))
    documents = sorted({int(key) for key in keys.ravel()})
    relevance = np.zeros((120, len(documents)))
    for query, positive, _ in whole.keys_RS:
        relevance[query, documents.index(positive)] = 1
    queries_QD = np.array([vectors[True, query] for query in range(120)])
    documents_MD = np.array([vectors[False, key] for key in documents])
    expected = ndcg_score(relevance, queries_QD @ documents_MD.T, k=10)
    assert got.ndcg_at_10 == pytest.approx(expected, abs=1e-9)
    assert 0 < got.ndcg_at_10 < 0.2 and 0 < got.accuracy < 0.2  # chance


@pytest.mark.parametrize("in_batch", [True, False])
def test_an_encoder_that_knows_all_scores_one_and_a_collapsed_one_nothing(in_batch: bool) -> None:
    whole = table([[row, row, 100 + row] for row in range(70)], in_batch)
    axis = np.eye(200)
    knows = {(side, key): axis[key].tolist() for side in (True, False) for key in range(200)}
    collapsed = {at: axis[0].tolist() for at in knows}
    rows = np.arange(70)
    assert score(embedder(whole, knows), whole, rows) == HeldOutScore(1.0, 1.0, 70)
    nothing = score(embedder(whole, collapsed), whole, rows)
    assert nothing.accuracy == 0
    # Label-like: of one negative and one positive the positive comes second.
    assert nothing.ndcg_at_10 == pytest.approx(0 if in_batch else 1 / math.log2(3))


def test_the_accuracy_is_within_batches_of_64_rows() -> None:
    """The 64th row's positive beats all others, and the 65th row has a batch of its own."""
    whole = table([[row, row, 100 + row] for row in range(65)])
    axis = np.eye(200)
    vectors = {(side, key): axis[key].tolist() for side in (True, False) for key in range(200)}
    vectors[False, 63] = [2.0] * 200
    assert score(embedder(whole, vectors), whole, np.arange(65)).accuracy == 2 / 65


def test_what_padding_does_to_an_embedding_decides_nothing() -> None:
    whole = table([[0, 1, 2]])
    vectors = {(True, 0): [1.0], (False, 1): [0.5 + 2e-7], (False, 2): [0.5]}
    assert score(embedder(whole, vectors), whole, np.arange(1)).accuracy == 0
    vectors[False, 1] = [0.5 + 2e-6]
    assert score(embedder(whole, vectors), whole, np.arange(1)).accuracy == 1


def test_only_held_out_rows_are_embedded_and_each_text_once() -> None:
    whole = table([[0, 10, 20], [1, 11, 21], [0, 12, 20], [2, 10, 22]])
    asked: list[tuple[int, int]] = []

    def embed(rows_N: Any, slots_N: Any) -> torch.Tensor:
        asked.extend(zip(rows_N.tolist(), slots_N.tolist(), strict=True))
        return torch.eye(20)[: len(rows_N)]

    score(embed, whole, np.array([3, 2, 0]))
    assert asked == [(3, 0), (2, 0), (3, 2), (2, 2), (3, 1), (2, 1)]


def test_the_mean_gives_every_dataset_the_same_weight() -> None:
    scores = {"small": HeldOutScore(1.0, 0.5, 2), "large": HeldOutScore(0.0, 0.1, 98)}
    assert mean(scores) == HeldOutScore(0.5, 0.3, 100)
    logged = record(scores)
    assert (logged["accuracy"], logged["ndcg_at_10"], logged["rows"]) == (0.5, 0.3, 100)
    assert logged["datasets"]["large"] == {"accuracy": 0.0, "ndcg_at_10": 0.1, "rows": 98}


def test_nothing_held_out_is_no_score() -> None:
    with pytest.raises(ValueError, match="'alpha' has no held-out rows"):
        score(lambda rows, slots: torch.zeros(0, 2), table([[0, 1, 2]]), np.array([], np.int64))
    with pytest.raises(ValueError, match="no dataset has held-out scores"):
        mean({})


def test_the_best_step_is_the_earliest_of_the_highest_ndcg() -> None:
    def scored(step: int, ndcg: float) -> dict[str, Any]:
        return {"step": step, "held_out": {"ndcg_at_10": ndcg}}

    found = best([{"step": 1}, scored(2, 0.3), scored(3, 0.5), scored(4, 0.5), {"step": 5}])
    assert found is not None and found["step"] == 3
    assert best([{"step": 1}]) is None
