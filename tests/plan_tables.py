"""Tables of rows to plan with, and small options."""

from __future__ import annotations

import numpy as np

from training.chunks import Indices
from training.options import TrainingOptions
from training.token_store import TokenTable


class Table(TokenTable):
    """Rows of given lengths, without the tokens."""

    def __init__(self, dataset: str, lengths_RS: Indices, queries_R: Indices | None = None) -> None:
        self.dataset = dataset
        self.lengths_RS = lengths_RS
        self.row_ids = np.arange(len(lengths_RS))
        self.keys_RS = np.arange(lengths_RS.size).reshape(lengths_RS.shape)
        if queries_R is not None:
            self.keys_RS[:, 0] = queries_R


def tables_of(sizes: dict[str, int], spread: int = 50) -> dict[str, TokenTable]:
    random = np.random.default_rng(len(sizes))
    return {n: Table(n, random.integers(5, 5 + spread, (r, 3))) for n, r in sorted(sizes.items())}


def options_of(**given: object) -> TrainingOptions:
    return TrainingOptions.model_validate({"steps": 50, "batch_rows": 4, **given})
