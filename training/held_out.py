"""How well the encoder ranks rows it has not been trained on: in-batch accuracy and nDCG@10."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from training.plan import Indices
from training.token_store import TokenTable

# (rows_N, slots_N) of a TokenTable -> embeddings (N, D), L2-normalised.
Embed = Callable[[Indices, Indices], Tensor]

_BATCH = 64  # rows whose positives compete with one another
_DEPTH = 10  # of nDCG
# As far as fp32 embeddings go: beyond, a text's padding would decide.
_DECIMALS = 6


@dataclass(frozen=True)
class HeldOutScore:
    """Of one dataset, or the mean over datasets: scores from 0 to 1, and how many rows."""

    accuracy: float
    ndcg_at_10: float
    rows: int


@dataclass(frozen=True)
class _Texts:
    """R rows as numbers of their distinct texts, Q queries and M documents (equal keys: one text).

    Documents are numbered as they come first, all rows' negatives before all rows' positives.
    """

    query_R: Tensor
    documents_RK: Tensor  # K = 1 + negatives; the positive first
    q_QD: Tensor
    d_MD: Tensor

    def batch(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Of these rows: cosines, what is relevant, and what its own rows hold; each (B, M).

        A query's own rows are those with the same query; relevant are their positives.
        """
        query_B = self.query_R[rows]
        row, mate = (query_B.unsqueeze(1) == self.query_R).nonzero(as_tuple=True)
        relevant_BM = torch.zeros(len(query_B), len(self.d_MD), dtype=torch.bool)
        own_BM = relevant_BM.clone()
        relevant_BM[row, self.documents_RK[mate, 0]] = True
        own_BM[row.unsqueeze(1), self.documents_RK[mate]] = True
        cosine_BM = (self.q_QD[query_B] @ self.d_MD.T).round(decimals=_DECIMALS)
        return cosine_BM, relevant_BM, own_BM


def score(embed: Embed, table: TokenTable, rows: Indices) -> HeldOutScore:
    """Scores the dataset's held-out `rows`; `embed` is called once, with each distinct text.

    accuracy: share of the rows whose positive outranks its own negatives and the positives of its
    batch (64 rows, in the order given). ndcg_at_10: mean over the distinct queries; all held-out
    documents are ranked, relevant are the positives of the rows that have the query. What is
    relevant to a query never counts against its accuracy. Where the dataset has no in-batch
    negatives, other rows' documents may be right too: a query ranks those of its own rows alone.

    Cosines are rounded to 1e-6. Of equal ones the document that comes first wins, all negatives
    before all positives: an encoder that gives every text one embedding scores next to nothing.
    Raises ValueError where there are no rows.
    """
    if not len(rows):
        raise ValueError(f"dataset {table.dataset!r} has no held-out rows to score")
    texts = _texts(embed, table, rows)
    firsts, ranks = [], []
    for start in range(0, len(rows), _BATCH):
        batch = slice(start, start + _BATCH)
        positive_B = texts.documents_RK[batch, 0]
        cosine_BM, relevant_BM, ranked_BM = texts.batch(batch)
        rivals_BM = torch.zeros_like(relevant_BM).scatter(1, texts.documents_RK[batch], True)
        if table.in_batch_negatives:
            rivals_BM[:, positive_B] = True
            ranked_BM = torch.ones_like(relevant_BM)
        firsts.append(_rank(cosine_BM, rivals_BM & ~relevant_BM, positive_B) == 0)
        ranks.append(_rank(cosine_BM, ranked_BM, positive_B))
    accuracy = float(torch.cat(firsts).double().mean())
    ndcg = _ndcg(texts.query_R.numpy(), texts.documents_RK[:, 0].numpy(), torch.cat(ranks).numpy())
    return HeldOutScore(accuracy, ndcg, len(rows))


def mean(scores: Mapping[str, HeldOutScore]) -> HeldOutScore:
    """Each dataset counts the same, however many rows it has; ValueError where there is none."""
    if not scores:
        raise ValueError("no dataset has held-out scores to take the mean of")
    accuracy = math.fsum(one.accuracy for one in scores.values()) / len(scores)
    ndcg = math.fsum(one.ndcg_at_10 for one in scores.values()) / len(scores)
    return HeldOutScore(accuracy, ndcg, sum(one.rows for one in scores.values()))


def record(scores: Mapping[str, HeldOutScore]) -> dict[str, Any]:
    """What the log holds under "held_out": the mean, and every dataset's; rounded to 1e-4."""
    datasets = {name: _rounded(scores[name]) for name in sorted(scores)}
    return {**_rounded(mean(scores)), "datasets": datasets}


def best(log: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The log's record of the highest nDCG@10, the earliest of equals; None: nothing was scored."""
    scored = [entry for entry in log if "held_out" in entry]
    return max(scored, key=lambda entry: float(entry["held_out"]["ndcg_at_10"]), default=None)


def _rounded(one: HeldOutScore) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in asdict(one).items()}


def _texts(embed: Embed, table: TokenTable, rows: Indices) -> _Texts:
    keys_RS = np.asarray(table.keys_RS[rows])
    rows_RS, slots_RS = np.meshgrid(rows, np.arange(keys_RS.shape[1]), indexing="ij")
    query_Q, query_R = _distinct(keys_RS[:, 0])
    # Row by row, and the positives last.
    document_M, document_F = _distinct(_negatives_first(keys_RS))
    row_N = np.concatenate([rows[query_Q], _negatives_first(rows_RS)[document_M]])
    slot_N = np.concatenate([np.zeros_like(query_Q), _negatives_first(slots_RS)[document_M]])
    x_ND = embed(row_N, slot_N).detach().cpu().double()
    positive_R, negative_F = document_F[-len(rows) :], document_F[: -len(rows)]
    documents_RK = np.column_stack([positive_R, negative_F.reshape(len(rows), -1)])
    q_QD, d_MD = x_ND[: len(query_Q)], x_ND[len(query_Q) :]
    return _Texts(torch.from_numpy(query_R), torch.from_numpy(documents_RK), q_QD, d_MD)


def _negatives_first(values_RS: Indices) -> Indices:
    return np.concatenate([values_RS[:, 2:].reshape(-1), values_RS[:, 1]])


def _distinct(keys_F: Indices) -> tuple[Indices, Indices]:
    """(where each key comes first, in that order; for every position the number of its key)."""
    _, first, inverse = np.unique(keys_F, return_index=True, return_inverse=True)
    order = np.argsort(first)
    return first[order], np.argsort(order)[inverse]


def _rank(cosine_BM: Tensor, candidates_BM: Tensor, document_B: Tensor) -> Tensor:
    """How many of the candidates come before the row's document (B)."""
    document_B1 = document_B.unsqueeze(1)
    own_B1 = cosine_BM.gather(1, document_B1)
    earlier_BM = torch.arange(cosine_BM.shape[1]) < document_B1
    ahead_BM = (cosine_BM > own_B1) | ((cosine_BM == own_B1) & earlier_BM)
    return (ahead_BM & candidates_BM).sum(dim=1)


def _ndcg(query_R: Indices, positive_R: Indices, rank_R: Indices) -> float:
    """Mean nDCG over the distinct queries; `rank_R` from 0, of the row's positive."""
    pairs_P2, first_P = np.unique(np.column_stack([query_R, positive_R]), axis=0, return_index=True)
    discount = 1 / np.log2(np.arange(_DEPTH) + 2)
    rank_P = rank_R[first_P]
    gain_P = np.where(rank_P < _DEPTH, discount[np.minimum(rank_P, _DEPTH - 1)], 0)
    gain_Q = np.bincount(pairs_P2[:, 0], weights=gain_P)
    relevant_Q = np.bincount(pairs_P2[:, 0])
    ideal_Q = np.cumsum(discount)[np.minimum(relevant_Q, _DEPTH) - 1]
    return float((gain_Q / ideal_Q).mean())
