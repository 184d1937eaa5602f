"""Exact cosine search at the speed of fp32, with a result that depends on the vectors alone.

A float sum depends on its order, hence on block shapes, threads and device. So the vectors are
put on a grid of 2**-24, about the precision fp32 has anyway (fp16 lies on it): products of unit
vectors are then whole multiples of 2**-48 and every partial sum fits the 53 bits of a float64.
Sums are exact, in any order, and so are the scores, which are rounded to 1e-4 and compared as
integers.

Only k scores a query are wanted. So all are computed in fp32, which is never further off than
`_largest_error`, and the best few of each query again in float64. A query for which that error
could hide a better row gets more of its rows computed again, and in the end all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from artifacts.encoder import Vectors
from artifacts.errors import DatasetError, InputError
from mining.device import resolve_device
from mining.options import Device

Rows = npt.NDArray[np.int64]
Stored = Vectors | npt.NDArray[np.float16]

_GRID = 2.0**24
_TICKS = 1e4  # a score is a whole number of ticks of 1e-4
_PAIRS_AT_ONCE = 4096
_ROWS_AT_ONCE = 65536  # of the result
_SPARE = 16  # candidates of a block beyond k, for near ties
_CACHED = 2**18  # numbers of the candidates' vectors that a CPU holds in its cache
_MOST_QUERIES, _FEWEST_QUERIES, _FEWEST_ROWS = 512, 16, 64  # of a block


def cosines(vectors_TD: Stored, left_N: Rows, right_N: Rows) -> Vectors:
    """Cosine of vector left[i] with vector right[i], rounded to 1e-4, fp32 [N].

    It is the very score that `top_k` gives the two. Raises DatasetError for a vector whose length
    is neither 1 nor 0.
    """
    scores_N = np.zeros(len(left_N), np.float32)
    for block in _blocks(len(left_N), _PAIRS_AT_ONCE):
        left, right = (_unit(vectors_TD, side[block], "texts") for side in (left_N, right_N))
        products = (left.to(torch.float64) * right).sum(dim=1)
        scores_N[block] = _scores(_ticks(products))
    return scores_N


def top_k(
    queries_QD: Stored,
    corpus_CD: Stored,
    k: int,
    memory_mib: float,
    device: Device = "auto",
) -> tuple[Rows, Vectors]:
    """The k nearest corpus rows of each query by cosine, best first.

    Both inputs are fp32 or fp16, perhaps memory-mapped, their rows of length 1 (or 0: a cosine of
    0 with everything). Returns rows int64 [Q, k] and scores fp32 [Q, k], rounded to 1e-4; equal
    scores are ordered by lowest row. k is at most C. Bit for bit the same for any memory_mib,
    device or number of threads. Works in at most memory_mib beside the inputs and the result.

    Raises InputError for vectors of two encoders and for a memory_mib too small for one block,
    DatasetError for a vector of another length.
    """
    if queries_QD.shape[1] != corpus_CD.shape[1]:
        raise InputError(
            f"queries have {queries_QD.shape[1]} dimensions and the corpus has "
            f"{corpus_CD.shape[1]}: both must be vectors of one encoder"
        )
    total, k = len(corpus_CD), min(k, len(corpus_CD))
    keys_QK = np.full((len(queries_QD), k), -np.inf)
    if keys_QK.size:
        where = resolve_device(device)
        many, edge = _block_shape(len(queries_QD), corpus_CD.shape, k, memory_mib)
        room = torch.empty(many * edge, device=where)
        for rows in _blocks(total, edge):
            corpus = _Block(_unit(corpus_CD, rows, "corpus", where), rows.start, total)
            for some in _blocks(len(queries_QD), many):
                queries = _unit(queries_QD, some, "queries", where)
                best = torch.from_numpy(keys_QK[some]).to(where)
                keys_QK[some] = _merged(best, queries, corpus, room).cpu().numpy()
    return _unpacked(keys_QK, total)


@dataclass(frozen=True)
class _Block:
    """Some corpus rows on the grid, fp32 [R, D], the first of them row `start` of `total`."""

    vectors: torch.Tensor
    start: int
    total: int

    def keys(self, ticks: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Numbers that order by score and, within one score, by lowest row: ticks * C - row.

        In place. They are whole and far below 2**53, so float64 holds them; no two are equal.
        """
        return ticks.mul_(self.total).sub_(rows + self.start)


def _merged(
    best_BK: torch.Tensor, queries_BD: torch.Tensor, corpus: _Block, room: torch.Tensor
) -> torch.Tensor:
    """The best keys of each query, those of the corpus block included."""
    size, k = len(corpus.vectors), best_BK.shape[1]
    products_BR = room[: len(queries_BD) * size].view(len(queries_BD), size)
    torch.mm(queries_BD, corpus.vectors.T, out=products_BR)
    error = _largest_error(queries_BD)
    open_ = torch.arange(len(queries_BD), device=room.device)  # queries that are not settled
    width = k * size // (corpus.start + size) + _SPARE  # the share of these rows in the best
    while len(open_) and width <= size // 8 and error < float("inf"):
        some = products_BR if len(open_) == len(products_BR) else products_BR[open_]
        near, rows = torch.topk(some, width, dim=1)
        keys = corpus.keys(_ticks(_exact(queries_BD[open_], corpus.vectors, rows)), rows)
        found = _best(best_BK[open_], keys)
        # No row that was left out has a larger fp32 product than the last one taken.
        unseen = _ticks(near[:, -1].to(torch.float64) + error).mul_(corpus.total)
        settled = unseen - corpus.start <= found[:, -1]
        best_BK[open_[settled]] = found[settled]
        open_, width = open_[~settled], width * 8
    if len(open_):
        best_BK[open_] = _all_exact(best_BK[open_], queries_BD[open_], corpus)
    return best_BK


def _best(best_BK: torch.Tensor, more_BN: torch.Tensor) -> torch.Tensor:
    return torch.topk(torch.cat([best_BK, more_BN], dim=1), best_BK.shape[1], dim=1).values


def _exact(
    queries_BD: torch.Tensor, corpus_RD: torch.Tensor, rows_BN: torch.Tensor
) -> torch.Tensor:
    """Exact product of each query with its own rows, float64 [B, N]."""
    most = len(corpus_RD) * corpus_RD.shape[1] // 8
    if queries_BD.device.type == "cpu":
        most = min(most, _CACHED)
    products_BN = torch.empty(rows_BN.shape, dtype=torch.float64, device=rows_BN.device)
    for block in _blocks(len(rows_BN), max(1, most // (rows_BN.shape[1] * corpus_RD.shape[1]))):
        near = corpus_RD[rows_BN[block]].to(torch.float64)
        query = queries_BD[block].to(torch.float64).unsqueeze(2)
        products_BN[block] = torch.bmm(near, query).squeeze(2)
    return products_BN


def _all_exact(best_BK: torch.Tensor, queries_BD: torch.Tensor, corpus: _Block) -> torch.Tensor:
    """The best keys of each query, with every product of the block in float64."""
    queries = queries_BD.to(torch.float64)
    for part in _blocks(len(corpus.vectors), max(1, len(corpus.vectors) // 8)):
        rows = torch.arange(part.start, part.stop, device=best_BK.device)
        ticks = _ticks(queries @ corpus.vectors[part].to(torch.float64).T)
        best_BK = _best(best_BK, corpus.keys(ticks, rows))
    return best_BK


def _largest_error(queries_BD: torch.Tensor) -> float:
    """How far the fp32 product of two unit vectors on the grid can be from the exact one.

    In any order of summation it is below n * u / (1 - n * u) of the product of their lengths,
    for n dimensions and u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 3.5).
    The terms added cover lengths up to 1.01 and the rounding of what is compared with it.
    Without bound where torch has leave to shorten the factors to TF32 or bf16.
    """
    gpu = queries_BD.device.type == "cuda"
    backend = torch.backends.cuda if gpu else torch.backends.mkldnn
    if backend.matmul.fp32_precision not in ("ieee", "none"):
        return float("inf")
    return 1.05 * (queries_BD.shape[1] + 8) * 2.0**-24 * _GRID**2


def _unit(
    vectors_ND: Stored, rows: slice | Rows, side: str, where: torch.device | None = None
) -> torch.Tensor:
    """Those rows on the grid. Raises DatasetError for one whose length is neither 1 nor 0."""
    vectors = torch.tensor(vectors_ND[rows], device=where).to(torch.float32)
    lengths = torch.linalg.vector_norm(vectors, dim=1)
    wrong = ~((lengths - 1).abs() < 0.01) & (lengths != 0)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        raise DatasetError(
            f"vector {np.arange(len(vectors_ND))[rows][first]} of the {side} has length "
            f"{float(lengths[first]):.4g}: a cosine takes vectors of length 1, or 0 for no token"
        )
    return on_grid(vectors)


def on_grid(vectors_ND: torch.Tensor) -> torch.Tensor:
    """Unit vectors, in place, as whole multiples of 2**-24; in fp32 too, where they fit 24 bits."""
    return vectors_ND.mul_(_GRID).round_()


def _ticks(products: torch.Tensor) -> torch.Tensor:
    """Exact sums of grid products, in place, as whole ticks of 1e-4."""
    return products.mul_(_TICKS / _GRID**2).round_()


def _unpacked(keys_QK: npt.NDArray[np.float64], total: int) -> tuple[Rows, Vectors]:
    """Rows, in the memory of the keys, and scores."""
    rows_QK, scores_QK = keys_QK.view(np.int64), np.zeros(keys_QK.shape, np.float32)
    for block in _blocks(len(keys_QK), _ROWS_AT_ONCE):
        whole = torch.from_numpy(keys_QK[block]).to(torch.int64)
        rows = torch.remainder(-whole, total)
        scores_QK[block] = _scores((whole + rows) // total)
        rows_QK[block] = rows.numpy()
    return rows_QK, scores_QK


def _scores(ticks: torch.Tensor) -> Vectors:
    scores: Vectors = (ticks.to(torch.float64) / _TICKS).to(torch.float32).numpy()
    return scores


def _block_shape(
    queries: int, corpus: tuple[int, ...], k: int, memory_mib: float
) -> tuple[int, int]:
    """How many queries, and how many corpus rows, are in memory at a time."""
    total, dim = corpus
    memory = int(memory_mib * 2**20)

    def rows_beside(many: int) -> int:
        return (memory - _bytes(many, 0, k, dim)) // _bytes_a_row(many, dim)

    many = min(queries, _MOST_QUERIES)
    while many > _FEWEST_QUERIES and rows_beside(many) < min(total, 16 * many):
        many //= 2
    least = min(total, _FEWEST_ROWS)
    if rows_beside(many) < least:
        needed = _bytes(many, least, k, dim) / 2**20
        raise InputError(
            f"memory_mib={memory_mib:g} is too small to search the {k} nearest of vectors with "
            f"{dim} dimensions: one block takes {needed:.3g} MiB"
        )
    return many, -(-total // -(-total // min(total, rows_beside(many))))


def _bytes(queries: int, rows: int, k: int, dim: int) -> int:
    """Of a block: the queries with their candidates, and the corpus rows with their products."""
    return queries * (16 * dim + 64 * (k + _SPARE)) + rows * _bytes_a_row(queries, dim)


def _bytes_a_row(queries: int, dim: int) -> int:
    return 8 * dim + 14 * queries


def _blocks(total: int, edge: int) -> Iterator[slice]:
    for start in range(0, total, edge):
        yield slice(start, min(start + edge, total))
