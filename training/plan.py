"""Which rows go into which step: drawn once from a seed, written down, read by every device.

plan.json      world size; datasets by name, with how many rows each holds out
steps.npy      int32 [steps]: the dataset of each step
offsets.npy    int64 [steps + 1]: where each step's rows start
rows.npy       int32: rows of all steps, end to end; a step's longest first
held_out.npy   int32: rows of all datasets that are never trained on
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.errors import InputError
from artifacts.keys import Spec
from training.chunks import Indices as Indices  # for whoever reads plans
from training.chunks import chunks, computed_tokens
from training.options import TrainingOptions
from training.plan_draw import draw_steps, hold_out
from training.token_store import TokenTable

STAGE = "plan"
VERSION = 1
# What a plan, or what is counted of it, hangs on.
_DECIDE = {
    "steps", "batch_rows", "batch_tokens", "sampling_temperature", "bucket_batches", "held_out",
    "seed", "chunk_tokens",
}  # fmt: skip


@dataclass(frozen=True)
class PlannedBatch:
    """One step: rows of one dataset, for all devices together, the longest first."""

    dataset: str
    rows: Indices  # positions in the dataset's TokenTable

    def share(self, rank: int, world_size: int) -> Indices:
        """The rows of one device: no row of another's, as many as another's or one more or less.

        Dealt out to and fro, so that devices have about equally many tokens. Empty for some where
        there are fewer rows than devices.
        """
        turn = np.arange(len(self.rows))
        place = turn % world_size
        back = turn // world_size % 2 == 1
        return self.rows[np.where(back, world_size - 1 - place, place) == rank]


class Plan:
    """A plan artifact, memory-mapped.

    steps, world_size  how long the training is, and for how many devices it was drawn
    datasets           all of them, by name
    held_out           dataset -> rows that are never trained on, ascending
    """

    def __init__(self, folder: Path) -> None:
        record = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
        self.world_size: int = record["world_size"]
        self.datasets = list(record["held_out"])
        self._dataset_of = np.load(folder / "steps.npy")
        self._offsets = np.load(folder / "offsets.npy")
        self._rows = np.load(folder / "rows.npy", mmap_mode="r")
        self.steps = len(self._dataset_of)
        held_out = np.load(folder / "held_out.npy").astype(np.int64)
        ends = np.cumsum(list(record["held_out"].values()))
        self.held_out: Mapping[str, Indices] = dict(
            zip(self.datasets, np.split(held_out, ends[:-1]), strict=True)
        )

    def batch(self, step: int) -> PlannedBatch:
        """The batch of a step, from 1 to `steps`; IndexError for another."""
        if not 1 <= step <= self.steps:
            raise IndexError(f"step {step}: the plan has steps 1 to {self.steps}")
        rows = self._rows[self._offsets[step - 1] : self._offsets[step]]
        return PlannedBatch(
            self.datasets[self._dataset_of[step - 1]], np.array(rows, dtype=np.int64)
        )


def plan_spec(tokens: Mapping[str, Spec], options: TrainingOptions, world_size: int) -> Spec:
    """What a plan is made of: the tokens, the options that decide it, the number of devices."""
    params = {**options.model_dump(mode="json", include=_DECIDE), "world_size": world_size}
    inputs = {name: spec.key for name, spec in tokens.items()}
    return Spec(STAGE, "model", VERSION, params, inputs)


def write_plan(
    tables: Mapping[str, TokenTable], options: TrainingOptions, world_size: int, folder: Path
) -> dict[str, Any]:
    """Draws the plan into `folder`; returns its counts.

    rows, tokens and computed_tokens are of all steps, `epochs` is rows over the rows there are to
    train on, `held_out` counts rows. Raises InputError where no dataset has rows.
    """
    if not any(len(table) for table in tables.values()):
        raise InputError(f"no rows in any of the {len(tables)} datasets: there is nothing to train")
    names = sorted(tables)
    held_out = {name: hold_out(tables[name], options) for name in names}
    rows = {
        name: np.setdiff1d(np.arange(len(tables[name])), held_out[name])
        for name in names
        if len(tables[name])
    }
    drawn = islice(draw_steps(tables, rows, options, world_size), options.steps)
    steps = [PlannedBatch(name, batch) for name, batch in drawn]
    _save(folder, steps, held_out, world_size)
    used = sum(len(batch.rows) for batch in steps)
    tokens = sum(int(tables[b.dataset].lengths_RS[b.rows].sum()) for b in steps)
    computed = sum(_computed(b, tables[b.dataset], options, world_size) for b in steps)
    return {
        "steps": len(steps),
        "rows": used,
        "epochs": round(used / sum(map(len, rows.values())), 3),
        "tokens": tokens,
        "computed_tokens": computed,
        "padding_efficiency": round(tokens / computed, 4),
        "held_out": sum(map(len, held_out.values())),
    }


def _save(
    folder: Path, steps: Sequence[PlannedBatch], held_out: Mapping[str, Indices], world_size: int
) -> None:
    number = {name: i for i, name in enumerate(held_out)}
    counts = {name: len(rows) for name, rows in held_out.items()}
    record = {"world_size": world_size, "held_out": counts}
    (folder / "plan.json").write_text(json.dumps(record) + "\n", encoding="utf-8")
    ends = np.cumsum([len(batch.rows) for batch in steps])
    np.save(folder / "offsets.npy", np.concatenate([[0], ends]).astype(np.int64))
    np.save(folder / "steps.npy", np.array([number[b.dataset] for b in steps], np.int32))
    np.save(folder / "rows.npy", np.concatenate([b.rows for b in steps]).astype(np.int32))
    np.save(folder / "held_out.npy", np.concatenate([*held_out.values()]).astype(np.int32))


def _computed(
    batch: PlannedBatch, table: TokenTable, options: TrainingOptions, world_size: int
) -> int:
    """Tokens that all devices together compute for the batch."""
    total = 0
    for rank in range(world_size):
        lengths_N = table.lengths_RS[batch.share(rank, world_size)].reshape(-1).astype(np.int64)
        total += computed_tokens(lengths_N, chunks(lengths_N, options.chunk_tokens))
    return total
