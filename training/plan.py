"""Which rows go into which step: the same list on every device, from the seed alone."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PlannedBatch:
    """One step: rows of one dataset, for all devices together.

    The device of rank r takes `rows[r::world_size]`, the same number on each.
    """

    dataset: str
    rows: Indices  # positions in the dataset's table


def plan_batches(
    sizes: Mapping[str, int], batch_rows: int, world_size: int, steps: int, seed: int
) -> list[PlannedBatch]:
    """The batches of `steps` steps, each out of one dataset (paper section 3.1).

    An epoch holds every row of every dataset and is shuffled anew, rows and batches; so datasets
    come in proportion to their sizes. A dataset is cut into as few, equally large batches as
    `batch_rows` rows a device allow: no small last batch, no row left over. One that is smaller
    than `batch_rows * world_size` is one smaller batch. Where a dataset's rows are no multiple of
    `world_size`, fewer than `world_size` of its rows go twice an epoch (more often only where it
    has fewer rows than there are devices), never twice to one device in one step.

    Raises ValueError where all datasets are empty.
    """
    names = sorted(name for name, size in sizes.items() if size)
    if not names:
        raise ValueError("no dataset has rows: there is nothing to plan")
    plan: list[PlannedBatch] = []
    epoch = 0
    while len(plan) < steps:
        plan += _epoch({name: sizes[name] for name in names}, batch_rows, world_size, seed, epoch)
        epoch += 1
    return plan[:steps]


def _epoch(
    sizes: Mapping[str, int], batch_rows: int, world_size: int, seed: int, epoch: int
) -> list[PlannedBatch]:
    batches = []
    for name, size in sizes.items():
        # A generator of its own, so that one more dataset leaves the others' order as it was.
        random = np.random.default_rng([seed, epoch, zlib.crc32(name.encode())])
        batches += [PlannedBatch(name, rows) for rows in _cut(size, batch_rows, world_size, random)]
    order = np.random.default_rng([seed, epoch]).permutation(len(batches))
    return [batches[i] for i in order]


def _cut(size: int, batch_rows: int, world_size: int, random: np.random.Generator) -> list[Indices]:
    order = random.permutation(size)
    # Position i goes to rank i % world_size, so a repeated row lands on another rank than the
    # first time: the gap between them is no multiple of world_size.
    order = np.concatenate([order, np.resize(order, -size % world_size)])
    rows_a_device = len(order) // world_size
    count = -(-rows_a_device // batch_rows)
    ends = [rows_a_device * i // count * world_size for i in range(count + 1)]
    return [order[start:end] for start, end in pairwise(ends)]
