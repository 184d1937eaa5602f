"""A wrong candidate set would train a model that is not INSTRUCTOR."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from training.loss import released_loss


def plain_loss(q: Tensor, p: Tensor, n: Tensor, temperature: float) -> Tensor:
    """FACTS as written: one row, one candidate at a time."""
    rows = range(len(q))
    query_side, document_side = [], []
    for i in rows:
        own = torch.exp(torch.dot(q[i], p[i]) / temperature)
        negatives = [torch.exp(torch.dot(q[i], x) / temperature) for row in n for x in row]
        query_side.append(-torch.log(own / (own + sum(negatives))))
        queries = [torch.exp(torch.dot(p[i], q[j]) / temperature) for j in rows]
        document_side.append(-torch.log(own / sum(queries)))
    return sum(query_side) / len(q) + sum(document_side) / len(q)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 6),
    negatives=st.integers(1, 3),
    size=st.integers(2, 5),
    temperature=st.sampled_from([0.01, 0.1, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_equals_the_double_loop(
    rows: int, negatives: int, size: int, temperature: float, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    shapes = [(rows, size), (rows, size), (rows, negatives, size)]
    raw = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]
    values, gradients = [], []
    for loss_of in (released_loss, plain_loss):
        leaves = [x.clone().requires_grad_() for x in raw]
        loss = loss_of(*(normalize(x, dim=-1) for x in leaves), temperature)
        values.append(loss.detach())
        gradients.append(torch.autograd.grad(loss, leaves))
    torch.testing.assert_close(values[0], values[1], rtol=1e-9, atol=1e-9)
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-7, atol=1e-7)


def test_other_rows_positives_are_no_candidates_of_the_query() -> None:
    """Two rows with one positive: the query side must not notice that they are the same."""
    q = normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2]]), dim=-1)
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    n = torch.tensor([[[0.0, 1.0]], [[0.0, -1.0]]])
    s = torch.tensor([1.0, 0.2]) / math.sqrt(1.04)
    query_side = math.log(1 + math.exp(s[1] - s[0]) + math.exp(-s[1] - s[0]))
    expected = query_side + math.log(2)
    assert math.isclose(float(released_loss(q, p, n, 1.0)), expected, rel_tol=1e-6)


def test_stays_finite_at_the_papers_temperature() -> None:
    """exp(1 / 0.01) overflows fp32; the loss must not."""
    q = torch.tensor([[1.0, 0.0]])
    loss = released_loss(q, -q, q.unsqueeze(1), 0.01)
    assert math.isclose(float(loss), 200.0, rel_tol=1e-6)
