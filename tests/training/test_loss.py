"""A wrong candidate set would train another model than the one asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from sentence_transformers.util import dot_score
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from training.loss import Batch, contrastive_losses
from training.options import Loss, Mask, TrainingOptions


def random_batch(rows: int, negatives: int, size: int, seed: int, keys: int = 1000) -> Batch:
    """Leaves that need no normalising: a loss of them is differentiable as it stands."""
    random = torch.Generator().manual_seed(seed)
    shapes = [(rows, size), (rows, size), (rows, negatives, size)]
    x = [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]
    k = [torch.randint(keys, shape, generator=random) for shape in [(rows,), (rows,)]]
    neg_keys = torch.randint(keys, (rows, negatives), generator=random)
    return Batch(*(normalize(each, dim=-1).requires_grad_() for each in x), *k, neg_keys)


def value_and_gradients(loss: Tensor, batch: Batch) -> tuple[Tensor, ...]:
    gradients = torch.autograd.grad(
        loss.sum(), batch[:3], retain_graph=True, materialize_grads=True
    )
    return loss.detach(), *gradients


def assert_same(ours: Tensor, theirs: Tensor, batch: Batch) -> None:
    pairs = zip(value_and_gradients(ours, batch), value_and_gradients(theirs, batch), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-8)


def released_loss(q_BD: Tensor, p_BD: Tensor, n_BND: Tensor, temperature: float) -> Tensor:
    """The release's, as its code has it: a scalar."""
    rows = torch.arange(len(q_BD))
    own_B1 = (q_BD * p_BD).sum(dim=1, keepdim=True)
    logits = torch.cat([own_B1, q_BD @ n_BND.flatten(0, 1).T], dim=1) / temperature
    query_side = cross_entropy(logits, torch.zeros_like(rows))
    return query_side + cross_entropy(p_BD @ q_BD.T / temperature, rows)


def plain_losses(batch: Batch, own: slice, options: TrainingOptions, in_batch: bool) -> Tensor:
    """The definitions as written: one row, one candidate at a time."""
    return torch.stack(
        [plain_loss(batch, i, options, in_batch) for i in range(own.start, own.stop)]
    )


def plain_loss(batch: Batch, i: int, options: TrainingOptions, in_batch: bool) -> Tensor:
    q, p = batch.q_CD[i], batch.p_CD[i]

    def is_candidate(cosine: Tensor, key: int, j: int, side: str) -> bool:
        if "text" in options.mask and key in (batch.query_keys_C[i], batch.pos_keys_C[i]):
            return False
        if j == i:
            return side == "hard"
        if "group" in options.mask and batch.query_keys_C[j] == batch.query_keys_C[i]:
            return False
        if "score" in options.mask and cosine > torch.dot(q, p):
            return False
        return in_batch

    def total(anchor: Tensor, side: str) -> Tensor:
        found = torch.zeros((), dtype=torch.float64)
        for j, x, key in texts(batch, side):
            cosine = torch.dot(anchor, x)
            if is_candidate(cosine, key, j, side):
                found = found + torch.exp(cosine / options.temperature)
        return found

    own = torch.exp(torch.dot(q, p) / options.temperature)
    query_side = own + total(q, "hard")
    document_side = own + total(p, "query")
    if options.loss != "released":
        query_side = query_side + total(q, "positive")
    if options.loss == "gte":
        same_kind = total(q, "query") + total(p, "positive") + total(p, "other rows' negatives")
        return -torch.log(own / (query_side + document_side + same_kind))
    return -torch.log(own / query_side) - torch.log(own / document_side)


def texts(batch: Batch, side: str) -> Iterator[tuple[int, Tensor, int]]:
    """Row, embedding and key of each text of a side."""
    for j in range(len(batch.q_CD)):
        if side == "query":
            yield j, batch.q_CD[j], int(batch.query_keys_C[j])
        elif side == "positive":
            yield j, batch.p_CD[j], int(batch.pos_keys_C[j])
        else:
            for x, key in zip(batch.n_CND[j], batch.neg_keys_CN[j], strict=True):
                yield j, x, int(key)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Batch, slice, TrainingOptions, bool]:
    rows = draw(st.integers(1, 6))
    start = draw(st.integers(0, rows - 1))
    # Few keys, so that texts are the same within a row, over rows and over the sides.
    seed, keys = draw(st.integers(0, 2**31)), draw(st.sampled_from([1, 3, 10, 1000]))
    batch = random_batch(rows, draw(st.integers(1, 3)), draw(st.integers(2, 5)), seed, keys)
    options = TrainingOptions(
        loss=draw(st.sampled_from(get_args(Loss))),
        temperature=draw(st.sampled_from([0.01, 0.1, 1.0])),
        mask=tuple(draw(st.sets(st.sampled_from(get_args(Mask))))),
    )
    return batch, slice(start, draw(st.integers(start + 1, rows))), options, draw(st.booleans())


@settings(max_examples=150, deadline=None)
@given(problems())
def test_equals_plain_loops_over_rows_and_candidates(
    problem: tuple[Batch, slice, TrainingOptions, bool],
) -> None:
    batch, own, options, in_batch = problem
    ours = contrastive_losses(batch, own, options, in_batch)
    assert_same(ours, plain_losses(batch, own, options, in_batch), batch)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 3), st.sampled_from([0.01, 1.0]), st.integers(0, 2**31))
def test_released_is_the_release_s_loss(
    rows: int, negatives: int, temperature: float, seed: int
) -> None:
    batch = random_batch(rows, negatives, 4, seed)
    options = TrainingOptions(loss="released", temperature=temperature)
    ours = contrastive_losses(batch, slice(0, rows), options, in_batch=True).mean()
    assert_same(ours, released_loss(*batch[:3], temperature), batch)


BOTH_WAYS = ("query_to_doc", "doc_to_query")
PEERS = {
    "paper": (BOTH_WAYS, "per_direction", 2),  # they take the mean of the two, not the sum
    "gte": ((*BOTH_WAYS, "query_to_query", "doc_to_doc"), "joint", 1),
}


@pytest.mark.parametrize("loss", PEERS)
def test_equals_what_sentence_transformers_makes_of_it(loss: Loss) -> None:
    batch = random_batch(5, 2, 4, seed=0)
    directions, mode, times = PEERS[loss]
    peer = MultipleNegativesRankingLoss(
        None, scale=20, similarity_fct=dot_score, directions=directions, partition_mode=mode
    )
    theirs = peer.compute_loss_from_embeddings(
        [batch.q_CD, batch.p_CD, *batch.n_CND.unbind(dim=1)], torch.empty(0)
    )
    options = TrainingOptions(loss=loss, temperature=0.05)
    ours = contrastive_losses(batch, slice(0, 5), options, in_batch=True).mean()
    assert_same(ours, times * theirs, batch)


@pytest.mark.parametrize("loss", get_args(Loss))
def test_no_other_row_matters_where_positives_share_a_label(loss: Loss) -> None:
    batch = random_batch(4, 2, 3, seed=1)
    alone = Batch(*(each[1:2] for each in batch))
    options = TrainingOptions(loss=loss, temperature=0.1)
    among = contrastive_losses(batch, slice(1, 2), options, in_batch=False)
    assert_same(among, contrastive_losses(alone, slice(0, 1), options, in_batch=True), batch)
    _, *gradients = value_and_gradients(among, batch)
    for gradient in gradients:
        assert gradient[1].any() and not gradient[[0, 2, 3]].any()


@pytest.mark.parametrize("mask", get_args(Mask))
def test_a_masked_candidate_is_pushed_nowhere(mask: Mask) -> None:
    """Row 1 repeats row 0: without the mask the loss would drive their texts apart."""
    q, p = normalize(torch.tensor([[1.0, 0.2], [1.0, 0.1]]), dim=-1).unbind()
    # p of row 1 is nearer to q than the own positive, and its query nearer to p.
    batch = Batch(
        torch.stack([q, q]), torch.stack([p, q]).requires_grad_(), torch.zeros(2, 1, 2),
        torch.tensor([7, 7]), torch.tensor([8, 8]), torch.tensor([[1], [2]]),
    )  # fmt: skip
    plain, masked = (
        contrastive_losses(batch, slice(0, 1), TrainingOptions(loss="paper", mask=each), True)
        for each in ((), (mask,))
    )
    assert plain.item() > 1
    (gradient,) = torch.autograd.grad(masked, batch.p_CD)
    assert not gradient[1].any()


@pytest.mark.parametrize("mask", ["group", "score"])
def test_own_hard_negative_stays_however_hard_it_is(mask: Mask) -> None:
    """It is what the row was mined for; nearer than the positive, it is to be pushed away."""
    q = torch.tensor([[1.0, 0.0]])
    p = torch.tensor([[0.0, 1.0]])
    keys = torch.tensor([1])
    batch = Batch(q, p, q.unsqueeze(1), keys, keys + 1, keys.unsqueeze(1) + 2)
    options = TrainingOptions(temperature=1, mask=(mask,))
    loss = contrastive_losses(batch, slice(0, 1), options, in_batch=True)
    assert math.isclose(float(loss), math.log(1 + math.e), rel_tol=1e-6)


def test_other_rows_positives_are_no_candidates_of_the_query() -> None:
    """Two rows with one positive: the released query side must not notice they are the same."""
    q = normalize(torch.tensor([[1.0, 0.2], [1.0, -0.2]]), dim=-1)
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    n = torch.tensor([[[0.0, 1.0]], [[0.0, -1.0]]])
    keys = torch.arange(2)
    batch = Batch(q, p, n, keys, keys + 2, keys.unsqueeze(1) + 4)
    options = TrainingOptions(loss="released", temperature=1)
    s = torch.tensor([1.0, 0.2]) / math.sqrt(1.04)
    query_side = math.log(1 + math.exp(s[1] - s[0]) + math.exp(-s[1] - s[0]))
    for loss in contrastive_losses(batch, slice(0, 2), options, in_batch=True):
        assert math.isclose(float(loss), query_side + math.log(2), rel_tol=1e-6)


def test_stays_finite_at_the_papers_temperature() -> None:
    """exp(1 / 0.01) overflows fp32; the loss must not."""
    q = torch.tensor([[1.0, 0.0]])
    keys = torch.tensor([1])
    batch = Batch(q, -q, q.unsqueeze(1), keys, keys + 1, keys.unsqueeze(1) + 2)
    loss = contrastive_losses(batch, slice(0, 1), TrainingOptions(temperature=0.01), True)
    assert math.isclose(float(loss), 200.0, rel_tol=1e-6)


def test_bf16_around_it_leaves_it_fp32() -> None:
    """At temperature 0.01 the rounding of a bf16 cosine is a third of a nat."""
    batch = random_batch(4, 1, 8, seed=2)
    batch = Batch(*(each.float() for each in batch[:3]), *batch[3:])
    options = TrainingOptions(temperature=0.01)
    plain = contrastive_losses(batch, slice(0, 4), options, in_batch=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(contrastive_losses(batch, slice(0, 4), options, True), plain)


def test_a_device_without_rows_still_takes_part() -> None:
    """Its backward pass must reach the embeddings: that is where the devices meet."""
    batch = random_batch(3, 1, 4, seed=3)
    for loss in get_args(Loss):
        losses = contrastive_losses(batch, slice(2, 2), TrainingOptions(loss=loss), True)
        assert losses.shape == (0,)
        gradients = torch.autograd.grad(losses.sum(), batch[:3], allow_unused=True)
        assert gradients[0] is not None and not gradients[0].any()
