"""The training of one process: rows to tokens to embeddings to loss to step."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from training.data import load_rows
from training.encoder import encoder_of, load_parts, tokeniser_of
from training.engine import (
    apply_step,
    join_processes,
    leave_processes,
    mean_over_devices,
    start_engine,
    sum_over_devices,
)
from training.export import export
from training.loss import released_loss
from training.options import TrainingJob, TrainingOptions
from training.plan import PlannedBatch, plan_batches
from training.tokens import TokenBatch, Tokeniser


class TrainingDiverged(RuntimeError):
    """Loss or gradient is no finite number any more; says at which step and on which rows."""


def run(job: TrainingJob) -> None:
    """One process' part of the job; rank 0 writes log.jsonl, the model and result.json."""
    options = job.options
    rows = load_rows(job.medi, options.negatives)
    parts = load_parts(job.encoder, options.max_length)
    rank, world_size = join_processes()
    torch.manual_seed(options.seed + rank)  # dropout
    sizes = {name: table.num_rows for name, table in rows.items()}
    plan = plan_batches(sizes, options.batch_rows, world_size, options.steps, options.seed)
    engine = start_engine(encoder_of(parts), options)
    tokeniser = tokeniser_of(parts)
    log = StepLog(job.work / "log.jsonl", engine.device, writes=rank == 0)
    for step, planned in enumerate(plan, start=1):
        share = rows[planned.dataset].take(planned.rows[rank::world_size]).to_pydict()
        batches = tokenise(tokeniser, share, options.negatives)
        lr = engine.get_lr()[0]
        loss, norm = _train_step(engine, batches, options)
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainingDiverged(_where(step, planned.dataset, share["row_id"], loss, norm))
        log.count(planned, batches)
        if step % options.log_every == 0 or step == options.steps:
            log.write(step, planned.dataset, loss=loss, lr=lr, grad_norm=norm)
    if rank == 0:
        export(parts, job, rows, log.loss_last)
        result = {"steps": options.steps, "loss_last": log.loss_last}
        (job.work / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    leave_processes()


def tokenise(
    tokeniser: Tokeniser, rows: Mapping[str, Sequence[Any]], negatives: int
) -> tuple[TokenBatch, TokenBatch, TokenBatch]:
    """Columns of B MEDI rows -> queries (B), positives (B), negatives (B * N, row by row)."""
    return (
        tokeniser.batch(rows["query_instruction"], rows["query"]),
        tokeniser.batch(rows["doc_instruction"], rows["pos"]),
        tokeniser.batch(
            [text for text in rows["doc_instruction"] for _ in range(negatives)],
            [text for texts in rows["neg"] for text in texts[:negatives]],
        ),
    )


def _train_step(
    engine: Any, batches: Sequence[TokenBatch], options: TrainingOptions
) -> tuple[float, float]:
    """This device's loss, and the global gradient norm before clipping."""
    q_BD, p_BD, n_MD = (engine(*batch.to(engine.device)) for batch in batches)
    n_BND = n_MD.view(len(q_BD), options.negatives, -1)
    loss = released_loss(q_BD, p_BD, n_BND, options.temperature)
    value = float(loss.detach())
    if not math.isfinite(value):
        return value, math.nan
    engine.backward(loss)
    return value, apply_step(engine)


def _where(step: int, dataset: str, row_ids: list[int], loss: float, norm: float) -> str:
    return (
        f"training stopped at step {step}: loss {loss}, gradient norm {norm} on dataset "
        f"{dataset!r}, row_id {row_ids}; try a lower learning_rate or look at these rows"
    )


class StepLog:
    """log.jsonl: one record every few steps; rows, tokens and seconds are since the last one.

    `tokens` counts what the texts hold, `tokens_computed` with the padding.
    """

    def __init__(self, path: Path, device: torch.device | str, *, writes: bool) -> None:
        self.loss_last = math.nan
        self._path = path
        self._device = device
        self._writes = writes
        self._start_over()

    def count(self, planned: PlannedBatch, batches: Sequence[TokenBatch]) -> None:
        self._rows += len(planned.rows)
        self._tokens += sum(int(batch.attention_BL.sum()) for batch in batches)
        self._computed += sum(batch.attention_BL.numel() for batch in batches)

    def write(self, step: int, dataset: str, *, loss: float, lr: float, grad_norm: float) -> None:
        """Every device must call it: loss is averaged, tokens are summed over the devices."""
        self.loss_last = mean_over_devices(loss, self._device)
        tokens = sum_over_devices([self._tokens, self._computed], self._device)
        record = {
            "step": step,
            "dataset": dataset,
            "loss": self.loss_last,
            "lr": lr,
            "grad_norm": grad_norm,
            "rows": self._rows,
            "tokens": int(tokens[0]),
            "tokens_computed": int(tokens[1]),
            "seconds": round(time.perf_counter() - self._since, 3),
        }
        if self._writes:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        self._start_over()

    def _start_over(self) -> None:
        self._rows = self._tokens = self._computed = 0
        self._since = time.perf_counter()
