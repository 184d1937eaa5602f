"""Exact cosine search at the speed of fp32, with a result that depends on the vectors alone.

A float sum depends on its order, hence on block shapes, threads and device. So the vectors are
put on a grid of 2**-24, about the precision fp32 has anyway (fp16 lies on it): products of unit
vectors are then whole multiples of 2**-48 and every partial sum fits the 53 bits of a float64.
Sums are exact, in any order, and so are the scores, which are rounded to 1e-4 and compared as
integers.

Only k scores a query are wanted. So all are computed in fp32, which is never further off than
`_largest_error`, and a few more than k of each query again in float64. A query for which that
error could hide a better row is searched again with more of them, and in the end with all.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from artifacts.encoder import Rows, VectorRows, Vectors
from artifacts.errors import DatasetError, InputError
from mining.device import resolve_device
from mining.options import Device

_GRID = 2.0**24
_TICKS = 1e4  # a score is a whole number of ticks of 1e-4
_PAIRS_AT_ONCE = 4096
_ROWS_AT_ONCE = 65536  # of the result
_PAIRS_IN_CACHE = 128  # of a core
_SPARE = 16  # candidates beyond k, for near ties
_BYTES_A_CANDIDATE = 40  # its product, row and key, and what they are chosen with
_MOST_QUERIES, _FEWEST_QUERIES, _FEWEST_ROWS = 512, 16, 64  # of a block


def cosines(vectors_TD: VectorRows, left_N: Rows, right_N: Rows) -> Vectors:
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
    queries_QD: VectorRows,
    corpus_CD: VectorRows,
    k: int,
    memory_mib: float,
    device: Device = "auto",
) -> tuple[Rows, Vectors]:
    """The k nearest corpus rows of each query by cosine, best first.

    Both inputs are fp32 or fp16 and read a block at a time, their rows of length 1 (or 0: a cosine
    of 0 with everything). Returns rows int64 [Q, k] and scores fp32 [Q, k], rounded to 1e-4; equal
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
    k = min(k, len(corpus_CD))
    keys_QK = np.full((len(queries_QD), k), -np.inf)
    if keys_QK.size:
        search = _Search(queries_QD, corpus_CD, k, memory_mib, resolve_device(device))
        near, open_ = k + _SPARE, np.arange(len(queries_QD))
        while len(open_):
            groups = [open_[some] for some in _blocks(len(open_), search.group(near))]
            open_ = np.concatenate([search.settle(keys_QK, group, near) for group in groups])
            near *= 8
    return _unpacked(keys_QK, len(corpus_CD))


class _Search:
    """Blocks of the corpus by blocks of queries, in room that is taken once.

    A row's key orders by score and, within one score, by lowest row: ticks * C - row. Keys are
    whole and far below 2**53, so float64 holds them; no two of a query are equal.
    """

    def __init__(
        self,
        queries: VectorRows,
        corpus: VectorRows,
        k: int,
        memory_mib: float,
        where: torch.device,
    ) -> None:
        self._queries, self._corpus, self._k, self._where = queries, corpus, k, where
        self._memory = int(memory_mib * 2**20)
        self._many, self._edge = _block_shape(len(queries), corpus.shape, k, memory_mib)
        self._room = torch.empty(self._many * self._edge, device=where)

    def group(self, near: int) -> int:
        """How many queries' candidates are held at a time."""
        return max(self._many, self._memory // (8 * _BYTES_A_CANDIDATE * near))

    def settle(self, keys_QK: npt.NDArray[np.float64], group: Rows, near: int) -> Rows:
        """Writes the keys of the queries `group`; returns those that need more than `near` rows."""
        error = _largest_error(self._corpus.shape[1], self._where)
        if near > len(self._corpus) // 8 or error == float("inf"):
            keys_QK[group] = self._by_exact_products(group).cpu().numpy()
            return group[:0]
        products_GN, rows_GN = self._nearest(group, near)
        keys_GN = self._exact_ticks(group, rows_GN).mul_(len(self._corpus)).sub_(rows_GN)
        found_GK = torch.topk(keys_GN, self._k, dim=1).values
        keys_QK[group] = found_GK.cpu().numpy()
        # No row that was left out has a larger fp32 product than the last that was taken.
        unseen_G = _ticks(products_GN[:, -1].to(torch.float64) + error).mul_(len(self._corpus))
        return group[(unseen_G > found_GK[:, -1]).cpu().numpy()]

    def _nearest(self, group: Rows, near: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest fp32 products of each query, in order, and their rows."""
        best_GN = torch.full((len(group), near), float("-inf"), device=self._where)
        rows_GN = torch.zeros((len(group), near), dtype=torch.int64, device=self._where)
        for corpus_RD, start, some, queries_BD in self._pairs_of_blocks(group):
            shape = (len(queries_BD), len(corpus_RD))
            products_BR = self._room[: shape[0] * shape[1]].view(shape)
            torch.mm(queries_BD, corpus_RD.T, out=products_BR)
            best, rows = torch.topk(products_BR, min(near, shape[1]), dim=1)
            best, order = torch.topk(torch.cat([best_GN[some], best], dim=1), near, dim=1)
            best_GN[some] = best
            rows_GN[some] = torch.cat([rows_GN[some], rows + start], dim=1).gather(1, order)
        return best_GN, rows_GN

    def _exact_ticks(self, group: Rows, rows_GN: torch.Tensor) -> torch.Tensor:
        ticks_GN = torch.empty(rows_GN.shape, dtype=torch.float64, device=self._where)
        for corpus_RD, start, some, queries_BD in self._pairs_of_blocks(group):
            at_BN = rows_GN[some] - start
            query, place = ((at_BN >= 0) & (at_BN < len(corpus_RD))).nonzero(as_tuple=True)
            products = _exact(queries_BD, query, corpus_RD, at_BN[query, place])
            ticks_GN[query + some.start, place] = _ticks(products)
        return ticks_GN

    def _by_exact_products(self, group: Rows) -> torch.Tensor:
        """The best keys of each query, with every product in float64."""
        keys_GK = torch.full(
            (len(group), self._k), float("-inf"), dtype=torch.float64, device=self._where
        )
        for corpus_RD, start, some, queries_BD in self._pairs_of_blocks(group):
            queries = queries_BD.to(torch.float64)
            for part in _blocks(len(corpus_RD), max(1, len(corpus_RD) // 8)):
                rows = torch.arange(part.start, part.stop, device=self._where) + start
                ticks = _ticks(queries @ corpus_RD[part].to(torch.float64).T)
                keys = torch.cat([keys_GK[some], ticks.mul_(len(self._corpus)).sub_(rows)], dim=1)
                keys_GK[some] = torch.topk(keys, self._k, dim=1).values
        return keys_GK

    def _pairs_of_blocks(
        self, group: Rows
    ) -> Iterator[tuple[torch.Tensor, int, slice, torch.Tensor]]:
        """Corpus rows on the grid, the first of them, places in `group`, those queries."""
        for rows in _blocks(len(self._corpus), self._edge):
            corpus_RD = _unit(self._corpus, rows, "corpus", self._where)
            for some in _blocks(len(group), self._many):
                queries_BD = _unit(self._queries, group[some], "queries", self._where)
                yield corpus_RD, rows.start, some, queries_BD


def _exact(
    queries_BD: torch.Tensor, query_P: torch.Tensor, corpus_RD: torch.Tensor, row_P: torch.Tensor
) -> torch.Tensor:
    """Exact product of query query_P[i] with row row_P[i], float64 [P]."""
    products_P = torch.empty(len(query_P), dtype=torch.float64, device=query_P.device)
    on_cpu = products_P.device.type == "cpu"
    most = _PAIRS_IN_CACHE * torch.get_num_threads() if on_cpu else _PAIRS_AT_ONCE
    for pairs in _blocks(len(query_P), most):
        left = queries_BD[query_P[pairs]].to(torch.float64)
        products_P[pairs] = (left.mul_(corpus_RD[row_P[pairs]])).sum(dim=1)
    return products_P


def _largest_error(dimension: int, where: torch.device) -> float:
    """How far the fp32 product of two unit vectors on the grid can be from the exact one.

    In any order of summation it is below n * u / (1 - n * u) of the product of their lengths,
    for n dimensions and u = 2**-24 (Higham, Accuracy and Stability of Numerical Algorithms, 3.5).
    The terms added cover lengths up to 1.01 and the rounding of what is compared with it.
    Without bound where torch has leave to shorten the factors to TF32 or bf16.
    """
    backend = torch.backends.cuda if where.type == "cuda" else torch.backends.mkldnn
    if backend.matmul.fp32_precision not in ("ieee", "none"):
        return float("inf")
    return 1.05 * (dimension + 8) * 2.0**-24 * _GRID**2


def _unit(
    vectors_ND: VectorRows, rows: slice | Rows, side: str, where: torch.device | None = None
) -> torch.Tensor:
    """Those rows on the grid. Raises DatasetError for one whose length is neither 1 nor 0."""
    own = np.require(vectors_ND[rows], np.float32, ["OWNDATA", "WRITEABLE"])  # a view is copied
    vectors = torch.from_numpy(own).to(where)
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
