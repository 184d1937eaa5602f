"""The contrastive losses: INSTRUCTOR's as released, as the paper words it, and GTE's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.options import Mask, TrainingOptions


class Batch(NamedTuple):
    """C rows with N hard negatives each, of one dataset.

    Embeddings are L2-normalised, so that a dot product is a cosine. Keys are int64 and compare
    over all three: two texts have the same one where they are the same text, normalised.
    """

    q_CD: Tensor
    p_CD: Tensor
    n_CND: Tensor
    query_keys_C: Tensor
    pos_keys_C: Tensor
    neg_keys_CN: Tensor


def contrastive_losses(
    batch: Batch, own: slice, options: TrainingOptions, in_batch: bool
) -> Tensor:
    """The loss of each of the rows `own` (b), their candidates being texts of all C rows.

    With s = cosine / temperature, sums over the rows j and the negatives k of each, and own
    -log exp s(q_i,p_i) / Z in every term:

        released  Z = exp s(q_i,p_i) + sum_jk exp s(q_i,n_jk), and a second term with
                  Z = sum_j exp s(p_i,q_j); the mean over the rows is the released code's loss
                  (paper section 3.1, equation 2), which has N = 1
        paper     the first Z also has the other rows' positives, sum_j!=i exp s(q_i,p_j), as the
                  paper's text says
        gte       one term, Z = sum_j exp s(q_i,d_j) + sum_j!=i exp s(q_i,q_j)
                  + sum_j exp s(p_i,q_j) + sum_j!=i exp s(p_i,d_j), d_j being p_j and all n_jk
                  (arXiv 2308.03281, the improved contrastive loss)

    Without `in_batch` nothing of another row is a candidate: there are the row's own positive and
    hard negatives. For datasets whose positives share a label, where others' are no negatives.

    `options.mask` leaves candidates out as false negatives:

        text   the same text as the row's query or positive
        group  of another row with the same query
        score  of another row and more similar to the anchor, q_i or p_i, than that pair is itself
               (GIST, arXiv 2402.16829, with the model as its own guide)
    """
    with torch.autocast(batch.q_CD.device.type, enabled=False):
        return _losses(batch, own, options, in_batch)


def _losses(batch: Batch, own: slice, options: TrainingOptions, in_batch: bool) -> Tensor:
    q_bD, p_bD = batch.q_CD[own], batch.p_CD[own]
    own_b1 = (q_bD * p_bD).sum(dim=1, keepdim=True)
    rows_C = torch.arange(len(batch.q_CD), device=batch.q_CD.device)
    queries = _Texts(batch.q_CD, batch.query_keys_C, rows_C)
    positives = _Texts(batch.p_CD, batch.pos_keys_C, rows_C)
    rows_M = rows_C.repeat_interleave(batch.n_CND.shape[1])
    negatives = _Texts(batch.n_CND.flatten(0, 1), batch.neg_keys_CN.flatten(), rows_M)
    rule = _Rule(batch, own, own_b1.detach(), options.mask, in_batch)

    hard = rule.similarities(q_bD, negatives, hard=True)
    others_q = rule.similarities(p_bD, queries)
    if options.loss == "released":
        terms = [[own_b1, hard], [own_b1, others_q]]
    else:
        others_p = rule.similarities(q_bD, positives)
        terms = [[own_b1, others_p, hard], [own_b1, others_q]]
    if options.loss == "gte":
        alike = [(q_bD, queries), (p_bD, positives), (p_bD, negatives)]
        both_ways = [similarity for term in terms for similarity in term]
        terms = [[*both_ways, *(rule.similarities(*pair) for pair in alike)]]
    target_b = torch.zeros(len(q_bD), dtype=torch.long, device=q_bD.device)
    losses = [
        cross_entropy(torch.cat(term, dim=1) / options.temperature, target_b, reduction="none")
        for term in terms
    ]
    return torch.stack(losses).sum(dim=0)


class _Texts(NamedTuple):
    """M texts that are candidates, with the rows they belong to."""

    x_MD: Tensor
    keys_M: Tensor
    rows_M: Tensor


@dataclass(frozen=True)
class _Rule:
    """Which texts are candidates of the rows `own`, beside the row's own pair."""

    batch: Batch
    own: slice
    own_b1: Tensor  # cosine of the row's query and positive
    mask: tuple[Mask, ...]
    in_batch: bool

    def similarities(self, anchor_bD: Tensor, texts: _Texts, hard: bool = False) -> Tensor:
        """Cosines (b, M), -inf where a text is no candidate.

        Texts of the anchor's own row are candidates only as its hard negatives, with `hard`.
        """
        s_bM = anchor_bD @ texts.x_MD.T
        rows_b1 = torch.arange(self.own.start, self.own.stop, device=s_bM.device).unsqueeze(1)
        query_keys_b1 = self.batch.query_keys_C[self.own].unsqueeze(1)
        pos_keys_b1 = self.batch.pos_keys_C[self.own].unsqueeze(1)
        others_bM = texts.rows_M != rows_b1
        kept_bM = others_bM if self.in_batch else torch.zeros_like(others_bM)
        if "group" in self.mask:
            kept_bM = kept_bM & (self.batch.query_keys_C[texts.rows_M] != query_keys_b1)
        if "score" in self.mask:
            kept_bM = kept_bM & ~(s_bM.detach() > self.own_b1)
        if hard:
            kept_bM = kept_bM | ~others_bM
        if "text" in self.mask:
            kept_bM = kept_bM & (texts.keys_M != query_keys_b1) & (texts.keys_M != pos_keys_b1)
        return s_bM.masked_fill(~kept_bM, -torch.inf)
