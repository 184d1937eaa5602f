"""Held-out scores on the way: the texts shared out among the devices, without dropout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from training import held_out
from training.chunks import Indices, chunks
from training.engine import of_rank_0
from training.options import TrainingOptions
from training.plan import Plan
from training.token_store import TokenTable


def score(
    engine: Any, plan: Plan, tables: Mapping[str, TokenTable], options: TrainingOptions
) -> dict[str, Any] | None:
    """What the log holds under "held_out", equal on all devices; None: no rows are held out.

    Every device must call it.
    """
    scores = {}
    engine.eval()
    for name, rows in sorted(plan.held_out.items()):
        if len(rows):
            table = tables[name]
            embed = _Embedder(engine, table, options.chunk_tokens)
            scores[name] = held_out.score(embed, table, rows)
    engine.train()
    return of_rank_0(held_out.record(scores)) if scores else None


class _Embedder:
    """(rows_N, slots_N) -> embeddings (N, D) on CPU, on every device."""

    def __init__(self, engine: Any, table: TokenTable, chunk_tokens: int) -> None:
        self._engine = engine
        self._table = table
        self._chunk_tokens = chunk_tokens

    @torch.no_grad()
    def __call__(self, rows_N: Indices, slots_N: Indices) -> Tensor:
        rank, world_size = dist.get_rank(), dist.get_world_size()
        lengths_N = self._table.lengths_RS[rows_N, slots_N]
        # Every device encodes as many chunks as the others, since ZeRO-3 gathers weights in each:
        # in the last round one without a chunk of its own takes the first of the round.
        groups = chunks(lengths_N, self._chunk_tokens)
        rounds = [groups[start : start + world_size] for start in range(0, len(groups), world_size)]
        out: list[Tensor] = []
        for turn in rounds:
            own = turn[rank] if rank < len(turn) else turn[0]
            batch = self._table.collate(rows_N[own], slots_N[own]).to(self._engine.device)
            x_BD = self._engine.module([tuple(batch)], [0])
            out += _of_all(x_BD, [len(group) for group in turn]) if world_size > 1 else [x_BD]
        order = torch.from_numpy(np.argsort(np.concatenate(groups)))
        return torch.cat([x_BD.float().cpu() for x_BD in out])[order]


def _of_all(x_BD: Tensor, sizes: list[int]) -> list[Tensor]:
    """The embeddings of the first len(sizes) ranks, sizes[r] of rank r."""
    most = max(sizes)
    mine = pad(x_BD, (0, 0, 0, most - len(x_BD))).contiguous()
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return [part[:size] for part, size in zip(parts, sizes, strict=False)]
