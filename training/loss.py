"""The loss INSTRUCTOR was trained with."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy


def released_loss(q_BD: Tensor, p_BD: Tensor, n_BND: Tensor, temperature: float) -> Tensor:
    """The released contrastive loss (paper section 3.1, equation 2, as the code has it); a scalar.

    B rows of one device with N hard negatives each, all L2-normalised to D dimensions, so that a
    dot product is a cosine; s = cosine / temperature.

        query side     -log exp s(q_i,p_i) / (exp s(q_i,p_i) + sum_jk exp s(q_i,n_jk))
        document side  -log exp s(p_i,q_i) / sum_j exp s(p_i,q_j)

    and the sum of their means. The other rows' positives are no candidates of the query side.
    The release has N = 1.
    """
    rows = torch.arange(len(q_BD), device=q_BD.device)
    own_B1 = (q_BD * p_BD).sum(dim=1, keepdim=True)
    negatives_BM = q_BD @ n_BND.flatten(0, 1).T
    query_side = cross_entropy(
        torch.cat([own_B1, negatives_BM], dim=1) / temperature, torch.zeros_like(rows)
    )
    document_side = cross_entropy(p_BD @ q_BD.T / temperature, rows)
    return query_side + document_side
