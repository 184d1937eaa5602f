"""Exact cosine search whose result depends on the vectors alone.

A float sum depends on its order, hence on block shapes, threads and device. So the vectors are
first put on a grid of 2**-24, about the precision fp32 has anyway: products of unit vectors are
then whole multiples of 2**-48 and every partial sum fits the 53 bits of a float64. Sums are
exact, in any order, and so are the scores, which are rounded to 1e-4 and compared as integers.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from artifacts.encoder import Vectors
from mining.device import resolve_device
from mining.options import Device

Rows = npt.NDArray[np.int64]

_GRID = 2.0**24
_TICKS = 1e4  # a score is a whole number of ticks of 1e-4
_PAIRS_AT_ONCE = 4096


def cosines(vectors_TD: Vectors, left_N: Rows, right_N: Rows) -> Vectors:
    """Cosine of vector left[i] with vector right[i], rounded to 1e-4, fp32 [N].

    It is the very score that `top_k` gives the two.
    """
    scores_N = np.zeros(len(left_N), np.float32)
    for block in _blocks(len(left_N), _PAIRS_AT_ONCE):
        left, right = (on_grid(vectors_TD[side[block]]) for side in (left_N, right_N))
        scores_N[block] = _scores(_ticks((left * right).sum(dim=1)))
    return scores_N


def top_k(
    queries_QD: Vectors,
    corpus_CD: Vectors,
    k: int,
    memory_mib: float,
    device: Device = "auto",
) -> tuple[Rows, Vectors]:
    """The k nearest corpus rows of each query by cosine, best first.

    Both inputs are fp32 with rows of length 1 (or 0: a cosine of 0 with everything). Returns rows
    int64 [Q, k] and scores fp32 [Q, k], rounded to 1e-4; equal scores are ordered by lowest row.
    k is at most C. Bit for bit the same for any memory_mib, device or number of threads; the
    blocks take about memory_mib, whatever Q and C.
    """
    k = min(k, len(corpus_CD))
    rows_QK = np.zeros((len(queries_QD), k), np.int64)
    scores_QK = np.zeros((len(queries_QD), k), np.float32)
    if k == 0:
        return rows_QK, scores_QK
    where = resolve_device(device)
    edge = _block_edge(queries_QD.shape[1], memory_mib)
    for block in _blocks(len(queries_QD), edge):
        best = _best_of_block(queries_QD[block], corpus_CD, k, edge, where)
        rows, ticks = _unpack(best, len(corpus_CD))
        rows_QK[block], scores_QK[block] = rows.cpu().numpy(), _scores(ticks)
    return rows_QK, scores_QK


def _best_of_block(
    queries_BD: Vectors, corpus_CD: Vectors, k: int, edge: int, where: torch.device
) -> torch.Tensor:
    """The k best keys of each query, [B, k], over the whole corpus."""
    total = len(corpus_CD)
    queries = on_grid(queries_BD, where)
    best = torch.empty((len(queries), 0), dtype=torch.float64, device=where)
    for block in _blocks(total, edge):
        # A key orders by score and, within one score, by lowest row: ticks * C - row. It is a
        # whole number far below 2**53, so float64 holds it exactly and no two are equal.
        keys = _ticks(queries @ on_grid(corpus_CD[block], where).T).mul_(total)
        keys -= torch.arange(block.start, block.stop, dtype=torch.float64, device=where)
        found = torch.topk(keys, min(k, keys.shape[1]), dim=1, sorted=False).values
        best = torch.cat([best, found], dim=1)
        best = torch.topk(best, min(k, best.shape[1]), dim=1).values
    return best


def _unpack(keys: torch.Tensor, total: int) -> tuple[torch.Tensor, torch.Tensor]:
    whole = keys.to(torch.int64)
    rows = torch.remainder(-whole, total)
    return rows, (whole + rows) // total


def on_grid(vectors_ND: Vectors, where: torch.device | None = None) -> torch.Tensor:
    """Unit vectors as whole multiples of 2**-24, float64 [N, D]: their products sum exactly."""
    vectors = torch.tensor(vectors_ND, dtype=torch.float32, device=where)
    return vectors.to(torch.float64).mul_(_GRID).round_()


def _ticks(products: torch.Tensor) -> torch.Tensor:
    """Exact sums of grid products, in place, as whole ticks of 1e-4."""
    return products.mul_(_TICKS / _GRID**2).round_()


def _scores(ticks: torch.Tensor) -> Vectors:
    scores: Vectors = (ticks.to(torch.float64) / _TICKS).to(torch.float32).cpu().numpy()
    return scores


def _block_edge(dim: int, memory_mib: float) -> int:
    """n with two grid blocks [n, dim] and the keys [n, n], sorted once more by topk, in memory."""
    numbers = memory_mib * 2**20 / 8
    edge = (-2 * dim + (4 * dim**2 + 4 * 3 * numbers) ** 0.5) / (2 * 3)
    return max(1, int(edge))


def _blocks(total: int, edge: int) -> Iterator[slice]:
    for start in range(0, total, edge):
        yield slice(start, min(start + edge, total))
