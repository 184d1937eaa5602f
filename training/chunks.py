"""Which texts go through the encoder together, so that little of what it computes is padding."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Cost = npt.NDArray[np.float64]

# What one more forward pass is taken to cost, in tokens: a split must save more than that.
OVERHEAD = 64
_FINE = 32  # groups start and end at every text, up to twice so many texts


def chunks(
    lengths_N: Indices, budget: int, count: int | None = None, overhead: int = OVERHEAD
) -> list[Indices]:
    """Groups of range(N) that together compute the fewest tokens, the longest texts first.

    A group computes its size times its longest text, and costs `overhead` tokens besides. Each
    computes at most `budget` tokens, unless it is a single text. With `count` there are exactly so
    many groups (all devices of a step must make equally many forward passes), or N where N is less.

    The very best up to 63 texts; of more, those of equal length are moved a few at a time.
    Raises ValueError where `count` groups are too few for `budget`.
    """
    order_N = np.argsort(-lengths_N, kind="stable")
    if count is not None and count >= len(order_N):
        return list(order_N[:, None])
    if not len(order_N):
        return []
    falling_N = lengths_N[order_N]  # a group's first is its longest; the best groups are runs
    borders = _borders(falling_N, budget, piece=max(1, len(falling_N) // _FINE))
    if count is not None and len(borders) <= count:
        borders = _borders(falling_N, budget, piece=1)
    cuts = _cheapest(_computed(falling_N, budget, borders) + overhead, count)
    if cuts is None:
        raise ValueError(f"{count} groups of at most {budget} tokens cannot hold these texts")
    return [order_N[borders[start] : borders[end]] for start, end in pairwise(cuts)]


def computed_tokens(lengths_N: Indices, groups: Sequence[Indices]) -> int:
    """Tokens that the encoder computes for these groups, padding counted."""
    return sum(len(group) * int(lengths_N[group].max()) for group in groups)


def _borders(falling_N: Indices, budget: int, piece: int) -> Indices:
    """Where groups may start and end: texts of equal length stay together, `piece` at most."""
    fitting_N = budget // np.maximum(falling_N, 1)
    piece_N = np.maximum(np.minimum(piece, fitting_N), 1)
    first_N = np.searchsorted(-falling_N, -falling_N)  # of the texts of this length
    starts = np.flatnonzero((np.arange(len(falling_N)) - first_N) % piece_N == 0)
    return np.append(starts, len(falling_N))


def _computed(falling_N: Indices, budget: int, borders: Indices) -> Cost:
    """Tokens that a group from border j to border i computes, infinite where it may not be."""
    size_JI = borders[None, 1:] - borders[:-1, None]
    computed_JI = size_JI * falling_N[borders[:-1], None]
    return np.where((size_JI > 0) & ((computed_JI <= budget) | (size_JI == 1)), computed_JI, np.inf)


def _cheapest(cost_JI: Cost, count: int | None) -> list[int] | None:
    """The cheapest partition in `count` groups, or in any number: positions among the borders.

    The whole cost is convex in the number of groups (group costs fulfil the quadrangle
    inequality), so where `count` is open the first rise ends the search.
    """
    best_J = np.full(len(cost_JI) + 1, np.inf)  # cost of the texts before border j, in k groups
    best_J[0] = 0.0
    starts_KI: list[Indices] = []  # where the last of k groups starts
    total = np.inf
    for _ in range(count or len(cost_JI)):
        through_JI = best_J[:-1, None] + cost_JI
        start_I = through_JI.argmin(axis=0)
        best_J = np.concatenate([[np.inf], through_JI[start_I, np.arange(len(start_I))]])
        if count is None and np.isfinite(total) and best_J[-1] >= total:
            break
        starts_KI.append(start_I)
        total = best_J[-1]
    if not np.isfinite(total):
        return None
    cuts = [len(cost_JI)]
    for start_I in reversed(starts_KI):
        cuts.append(int(start_I[cuts[-1] - 1]))
    return cuts[::-1]
