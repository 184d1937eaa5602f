"""The rows of all devices as candidates of each, with gradients back to where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from training.loss import Batch


def gather_batch(batch: Batch, counts: Sequence[int]) -> tuple[Batch, slice]:
    """All ranks' rows in the order of the ranks, and which of them are this rank's own.

    `counts[r]` is how many rows rank r has, 0 allowed. Collective, and so is the backward pass
    through the embeddings: every rank must call both. A rank's embeddings get the gradients of
    all ranks' losses, summed. Works with gloo and nccl.

    Raises ValueError where the batch has another number of rows than `counts` says.
    """
    if len(counts) == 1:
        return batch, slice(0, len(batch.q_CD))
    rank = dist.get_rank()
    if len(batch.q_CD) != counts[rank]:
        raise ValueError(f"rank {rank} has {len(batch.q_CD)} rows, but counts says {counts}")
    negatives, size = batch.n_CND.shape[1:]
    # One collective for all embeddings and one for all keys.
    x_bF = torch.cat([batch.q_CD, batch.p_CD, batch.n_CND.flatten(1)], dim=1)
    x_CF: Tensor = _Gather.apply(x_bF, counts)  # type: ignore[no-untyped-call]
    q_CD, p_CD, n_CM = torch.split(x_CF, [size, size, negatives * size], dim=1)
    keys = (batch.query_keys_C.unsqueeze(1), batch.pos_keys_C.unsqueeze(1), batch.neg_keys_CN)
    keys_CS = _all_rows(torch.cat(keys, dim=1), counts)
    query_C1, pos_C1, neg_CN = torch.split(keys_CS, [1, 1, negatives], dim=1)
    n_CND = n_CM.reshape(-1, negatives, size)
    gathered = Batch(q_CD, p_CD, n_CND, query_C1.squeeze(1), pos_C1.squeeze(1), neg_CN)
    return gathered, _own(counts)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_bF: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.counts = counts
        return _all_rows(x_bF, counts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_CF: Tensor) -> tuple[Tensor, None]:
        # A copy: the gradient that autograd hands in may be used elsewhere too.
        total_CF = grad_CF.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total_CF)
        return total_CF[_own(ctx.counts)], None


def _all_rows(x_bF: Tensor, counts: Sequence[int]) -> Tensor:
    """(b, F) of every rank -> (C, F)."""
    most = max(counts)  # a collective takes equally many rows of every rank
    mine = pad(x_bF.detach(), (0, 0, 0, most - len(x_bF))).contiguous()
    parts = [torch.empty_like(mine) for _ in counts]
    dist.all_gather(parts, mine)
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])


def _own(counts: Sequence[int]) -> slice:
    ends = list(accumulate(counts))
    rank = dist.get_rank()
    return slice(ends[rank] - counts[rank], ends[rank])
