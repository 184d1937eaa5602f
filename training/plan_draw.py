"""The draws behind a plan: rows held out, the batches of a dataset, the order of all batches."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from itertools import chain, count, islice, pairwise

import numpy as np

from training.chunks import Indices
from training.options import TrainingOptions
from training.token_store import TokenTable

# What a generator is for: each draw has its own, so that none shifts another.
_HELD_OUT, _ROWS, _PLACES, _OWED = range(4)
_ERROR = 0.15  # of the lengths by which rows are put together

Batches = list[Indices]


def hold_out(table: TokenTable, options: TrainingOptions) -> Indices:
    """At most `held_out` of the rows, ascending; rows with the same query are all in or all out.

    Queries are taken in random order, one with too many rows is passed over. One row stays.
    """
    room = min(int(options.held_out * len(table)), len(table) - 1)
    if room <= 0:
        return np.arange(0)
    _, group_R, size_G = np.unique(table.keys_RS[:, 0], return_inverse=True, return_counts=True)
    taken_G = np.zeros(len(size_G), dtype=bool)
    for group in _generator(options, _HELD_OUT, table.dataset).permutation(len(size_G)):
        if room == 0:
            break
        if size_G[group] <= room:
            taken_G[group] = True
            room -= int(size_G[group])
    return np.flatnonzero(taken_G[group_R])


def draw_steps(
    tables: Mapping[str, TokenTable],
    rows: Mapping[str, Indices],
    options: TrainingOptions,
    world_size: int,
) -> Iterator[tuple[str, Indices]]:
    """(dataset, rows) of each step, without end. `rows` are each dataset's to draw from, not empty.

    A round holds each dataset as often as it has batches, so all its rows once; with a sampling
    temperature T so often that its rows come as their number ** (1 / T). Batches take random
    places in a round: one more dataset leaves the order of the others as it was.
    """
    streams = {name: epochs(tables[name], rows[name], options, world_size) for name in sorted(rows)}
    if options.sampling_temperature == 1:
        rounds = _rounds(streams)
    else:
        rounds = _tempered_rounds(streams, rows, options)
    for number, batches in enumerate(rounds):
        # Sorted, since a dataset's batches are in their order: an epoch before the next.
        places = [
            np.sort(_generator(options, _PLACES, name, number).random(len(some)))
            for name, some in batches.items()
        ]
        steps = [(name, batch) for name, some in batches.items() for batch in some]
        yield from (steps[i] for i in np.concatenate(places).argsort(kind="stable"))


def epochs(
    table: TokenTable, rows: Indices, options: TrainingOptions, world_size: int
) -> Iterator[Batches]:
    """A dataset's epochs, without end: its batches, each row in one of them, each epoch anew.

    Rows of like length are together, as far as their longest text tells, within a stretch of
    `bucket_batches` batches. Lengths are compared with a random error, 15% where the dataset is one
    stretch, else the less the more it has: without it a small dataset would put the same rows
    together in every epoch.
    """
    lengths_NS = table.lengths_RS[rows].astype(np.int64)
    longest_N, tokens_N = lengths_NS.max(axis=1), lengths_NS.sum(axis=1)
    batches = _at_least(tokens_N, options, world_size)
    error = _ERROR / -(-batches // options.bucket_batches)
    for epoch in count():
        random = _generator(options, _ROWS, table.dataset, epoch)
        order = random.permutation(len(rows))
        rough_N = longest_N * random.uniform(1 - error, 1 + error, len(rows))
        cut: Batches = []
        for first in range(0, batches, options.bucket_batches):
            last = min(first + options.bucket_batches, batches)
            stretch = order[len(rows) * first // batches : len(rows) * last // batches]
            stretch = stretch[rough_N[stretch].argsort(kind="stable")]
            borders = _borders(tokens_N[stretch], last - first, options, world_size)
            cut += [stretch[start:end] for start, end in pairwise(borders)]
        # A batch's rows by falling length: PlannedBatch.share deals them out in this order.
        cut = [batch[(-tokens_N[batch]).argsort(kind="stable")] for batch in cut]
        yield [rows[cut[i]] for i in random.permutation(len(cut))]


def _rounds(streams: Mapping[str, Iterator[Batches]]) -> Iterator[dict[str, Batches]]:
    """Rounds in which each dataset has one epoch."""
    while True:
        yield {name: next(stream) for name, stream in streams.items()}


def _tempered_rounds(
    streams: Mapping[str, Iterator[Batches]], rows: Mapping[str, Indices], options: TrainingOptions
) -> Iterator[dict[str, Batches]]:
    """Rounds of about that length, in which each dataset has what the temperature gives it.

    That is no whole number of batches: what is left of it is owed to the next round.
    """
    first = {name: next(stream) for name, stream in streams.items()}
    power = 1 / options.sampling_temperature - 1
    weights = {name: len(first[name]) * len(rows[name]) ** power for name in streams}
    scale = sum(map(len, first.values())) / sum(weights.values())
    batches = {n: chain(first[n], chain.from_iterable(stream)) for n, stream in streams.items()}
    owed = {name: _generator(options, _OWED, name).random() for name in streams}
    while True:
        owed = {name: owed[name] % 1 + weights[name] * scale for name in streams}
        yield {name: list(islice(batches[name], int(owed[name]))) for name in streams}


def _at_least(tokens_N: Indices, options: TrainingOptions, world_size: int) -> int:
    """The fewest batches that the rows could make."""
    by_rows = -(-len(tokens_N) // (options.batch_rows * world_size))
    if options.batch_tokens is None:
        return by_rows
    by_tokens = -(-int(tokens_N.sum()) // (options.batch_tokens * world_size))
    return min(max(by_rows, by_tokens), len(tokens_N))


def _borders(
    tokens_N: Indices, batches: int, options: TrainingOptions, world_size: int
) -> list[int]:
    """Where to cut rows: `batches` nearly equal parts, or what `batch_tokens` allows.

    With a token budget as few batches as can be, and then the smallest budget that makes no more:
    no small batch is left over.
    """
    if options.batch_tokens is None:
        return [len(tokens_N) * i // batches for i in range(batches + 1)]
    most = options.batch_rows
    best = _fill(tokens_N, options.batch_tokens, most, world_size)
    low, high = 0, options.batch_tokens
    while high - low > 1:
        budget = (low + high) // 2
        borders = _fill(tokens_N, budget, most, world_size)
        if len(borders) == len(best):
            best, high = borders, budget
        else:
            low = budget
    return best


def _fill(tokens_N: Indices, budget: int, most: int, world_size: int) -> list[int]:
    """Each batch takes rows in order as long as `budget` tokens a device hold them, dealt out.

    The fullest device has at most the mean and (world_size - 1) / world_size of the longest row.
    A batch has at least one row a device and at most `most`.
    """
    borders = [0]
    while borders[-1] < len(tokens_N):
        next_M = tokens_N[borders[-1] : borders[-1] + most * world_size]
        fullest_M = next_M.cumsum() + (world_size - 1) * np.maximum.accumulate(next_M)
        fitting = int(np.searchsorted(fullest_M, budget * world_size, side="right"))
        borders.append(min(borders[-1] + max(fitting, world_size), len(tokens_N)))
    return borders


def _generator(
    options: TrainingOptions, purpose: int, dataset: str, number: int = 0
) -> np.random.Generator:
    return np.random.default_rng([options.seed, purpose, zlib.crc32(dataset.encode()), number])
