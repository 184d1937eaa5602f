"""The training as torch alone would do it: what DeepSpeed's must equal."""

from __future__ import annotations

import math

import numpy as np
import torch

from training.encoder import Encoder
from training.options import TrainingJob
from training.plan import Indices, Plan
from training.token_store import TokenTable

Numbers = list[tuple[float, float]]  # loss and gradient norm of each step
Weights = dict[str, torch.Tensor]


def plain_steps(encoder: Encoder, job: TrainingJob) -> Numbers:
    """The released loss in a plain loop. Every batch' mean is over all rows of all devices."""
    options, plan = job.options, Plan(job.plan)
    tables = {name: TokenTable(folder, name) for name, folder in job.tokens.items()}
    matrices = [w for w in encoder.parameters() if w.ndim > 1]
    vectors = [w for w in encoder.parameters() if w.ndim == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": options.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
    )
    warmup = math.ceil(plan.steps * options.warmup_ratio)
    numbers = []
    for step in range(plan.steps):
        factor = min((step + 1) / warmup, (plan.steps - step) / (plan.steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * factor
        optimizer.zero_grad()
        planned, loss = plan.batch(step + 1), 0.0
        shares = [planned.share(rank, plan.world_size) for rank in range(plan.world_size)]
        for rows in [planned.rows] if options.gather else filter(len, shares):
            q, p, n = (sides(encoder, tables[planned.dataset], rows, slot) for slot in range(3))
            own = (q * p).sum(dim=1) / options.temperature
            query_side = torch.cat([own.unsqueeze(1), q @ n.T / options.temperature], dim=1)
            document_side = p @ q.T / options.temperature
            losses = query_side.logsumexp(dim=1) + document_side.logsumexp(dim=1) - 2 * own
            (losses.sum() / len(planned.rows)).backward()
            loss += losses.sum().item() / len(planned.rows)
        norm = torch.nn.utils.clip_grad_norm_(encoder.parameters(), options.gradient_clipping)
        optimizer.step()
        numbers.append((loss, float(norm)))
    return numbers


def sides(encoder: Encoder, table: TokenTable, rows: Indices, slot: int) -> torch.Tensor:
    embeddings: torch.Tensor = encoder(*table.collate(rows, np.full(len(rows), slot)))
    return embeddings
