"""Bootstrap over examples: how often each is drawn, and a score of every resample at once.

A resample of N examples is a row of counts, shape (N,), that sum to N. A statistic maps a block of
them, shape (resamples, N), to their scores, shape (resamples,); NaN where a resample has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats], Floats]

_BLOCK = 2_000_000  # counts at a time: 16 MB, whatever the number of examples


def resampled(statistic: Statistic, examples: int, seed: int, n: int) -> Floats:
    """`statistic` of n resamples, which hang on nothing but `examples` and `seed`."""
    return np.concatenate([statistic(counts_RN) for counts_RN in _counts(examples, seed, n)])


def _counts(examples: int, seed: int, n: int) -> Iterator[Floats]:
    random = np.random.default_rng(seed)
    step = max(1, _BLOCK // examples)
    for start in range(0, n, step):
        rows = min(step, n - start)
        drawn_RN = random.integers(0, examples, size=(rows, examples), dtype=np.int64)
        drawn_RN += np.arange(rows)[:, None] * examples
        counts = np.bincount(drawn_RN.ravel(), minlength=rows * examples)
        yield counts.reshape(rows, examples).astype(np.float64)


def mean(values_N: Floats) -> Statistic:
    return lambda counts_RN: counts_RN @ values_N / len(values_N)


def pearson(x_N: Floats, y_N: Floats) -> Statistic:
    x_N, y_N = _standard(x_N), _standard(y_N)
    moments_NK = np.stack([x_N, y_N, x_N * x_N, y_N * y_N, x_N * y_N], axis=1)

    def statistic(counts_RN: Floats) -> Floats:
        x, y, xx, yy, xy = (counts_RN @ moments_NK / len(x_N)).T
        return _correlation(xy - x * y, xx - x * x, yy - y * y)

    return statistic


def spearman(x_N: Floats, y_N: Floats) -> Statistic:
    """Ranks are taken anew in every resample; equal values share their mean rank."""
    centre = (len(x_N) + 1) / 2

    def statistic(counts_RN: Floats) -> Floats:
        x_RN, y_RN = (_ranks(values_N, counts_RN) - centre for values_N in (x_N, y_N))
        products = ((x_RN, y_RN), (x_RN, x_RN), (y_RN, y_RN))
        scale = len(x_N) ** 3
        xy, xx, yy = (np.einsum("rn,rn,rn->r", counts_RN, a, b) / scale for a, b in products)
        return _correlation(xy, xx, yy)

    return statistic


def average_precision(scores_N: Floats, relevant_N: npt.NDArray[np.bool_]) -> Statistic:
    """As sklearn has it: mean precision over the recalled, equal scores taken together."""
    order_N = np.argsort(-scores_N, kind="stable")
    ends_G = _ends(scores_N[order_N])
    relevant_N = relevant_N[order_N]

    def statistic(counts_RN: Floats) -> Floats:
        counts_RN = counts_RN[:, order_N]
        drawn_RG = np.cumsum(counts_RN, axis=1)[:, ends_G]
        found_RG = np.cumsum(counts_RN * relevant_N, axis=1)[:, ends_G]
        gained_RG = np.diff(found_RG, axis=1, prepend=0)
        total_R = found_RG[:, -1]
        summed_R = np.einsum("rg,rg->r", gained_RG, found_RG / np.maximum(drawn_RG, 1))
        return np.where(total_R > 0, summed_R / np.maximum(total_R, 1), np.nan)

    return statistic


def highest(statistics: Sequence[Statistic]) -> Statistic:
    return lambda counts_RN: np.max([one(counts_RN) for one in statistics], axis=0)


def _ranks(values_N: Floats, counts_RN: Floats) -> Floats:
    """Mean rank of each value within each resample, from 1."""
    order_N = np.argsort(values_N, kind="stable")
    ends_G = _ends(values_N[order_N])
    upto_RG = np.cumsum(counts_RN[:, order_N], axis=1)[:, ends_G]
    of_it_RG = np.diff(upto_RG, axis=1, prepend=0)
    ranks_RG = upto_RG - (of_it_RG - 1) / 2
    group_N = np.empty(len(values_N), dtype=np.int64)
    group_N[order_N] = np.searchsorted(ends_G, np.arange(len(values_N)))
    return ranks_RG[:, group_N]


def _ends(sorted_N: Floats) -> npt.NDArray[np.int64]:
    """Positions at which a run of equal values ends."""
    return np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True))


def _standard(values_N: Floats) -> Floats:
    spread = float(values_N.std())
    return (values_N - values_N.mean()) / (spread if spread > 0 else 1.0)


def _correlation(xy: Floats, xx: Floats, yy: Floats) -> Floats:
    """NaN where one side does not vary (both are of the order of 1 where they do)."""
    varies = (xx > 1e-12) & (yy > 1e-12)
    scale = np.sqrt(np.where(varies, xx * yy, 1.0))
    return np.where(varies, xy / scale, np.nan)
