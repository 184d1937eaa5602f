"""The training of one process: from the first step, or the last checkpoint, to the export."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from artifacts.errors import InputError
from training.checkpoint import LOG, WEIGHTS, Checkpoints, Training, read
from training.chunks import OVERHEAD
from training.curve import on_curve
from training.encoder import Encoder, encoder_of, load_parts
from training.engine import (
    apply_step,
    join_processes,
    leave_processes,
    start_engine,
    whole_weights,
)
from training.errors import TrainingDiverged
from training.export import export
from training.held_out import best
from training.log import StepLog
from training.options import TrainingJob
from training.plan import Plan
from training.scoring import score
from training.step import ChunkedEncoder, Share, backward, share_of
from training.token_store import TokenTable

# On a GPU a pass of fewer tokens takes as long: it is the kernels' launches that take the time.
_GPU_OVERHEAD = 1024


def run(job: TrainingJob) -> None:
    """One process' part of the job; rank 0 writes log.jsonl, the model and result.json.

    Goes on from the newest whole checkpoint in `job.work`, as if it had never stopped. Raises
    InputError for bad input, TrainingDiverged, and CheckpointFailed where the disk is full.
    """
    plan = Plan(job.plan)
    tables = {name: TokenTable(job.tokens[name], name) for name in plan.datasets}
    encoder = encoder_of(load_parts(job.encoder, job.options.max_length))
    rank, world_size = join_processes()
    if world_size != plan.world_size:
        raise InputError(
            f"the plan {job.plan} is for {plan.world_size} devices, and {world_size} train; "
            "make a plan for as many, or set processes"
        )
    trainer = Trainer(job, plan, tables, encoder, rank)
    trainer.train()
    trainer.finish()
    leave_processes()


class Trainer:
    """Engine, log and checkpoints of one device."""

    def __init__(
        self,
        job: TrainingJob,
        plan: Plan,
        tables: dict[str, TokenTable],
        encoder: Encoder,
        rank: int,
    ) -> None:
        self.job, self.plan, self.tables, self.rank = job, plan, tables, rank
        self.options = job.options
        self.encoder = encoder
        model = ChunkedEncoder(encoder, job.options)
        self.engine = start_engine(model.train(), job.options, plan.steps)  # loaded without dropout
        self._overhead = _GPU_OVERHEAD if self.engine.device.type == "cuda" else OVERHEAD
        self.log = StepLog(job.work / LOG, self.engine.device, rank)
        training = Training.of(job, plan.world_size)
        self.checkpoints = Checkpoints(self.engine, job.work / "checkpoints", training, rank)

    def train(self) -> None:
        for step, share in self._shares(self._resume() + 1):
            lr = self.engine.get_lr()[0]
            started = time.perf_counter()
            loss, grad_norm = self._step(step, share)
            self.log.count(share, loss, time.perf_counter() - started)
            held_out = self._score(step)
            options = self.options
            if step % options.log_every == 0 or on_curve(step, self.plan.steps) or held_out:
                dataset = share.planned.dataset
                self.log.write(
                    step, dataset, loss=loss, lr=lr, grad_norm=grad_norm, held_out=held_out
                )
            self._save(step)

    def finish(self) -> None:
        """Exports the model, and result.json says that all is done."""
        job, log = self.job, self.log.records
        weights = whole_weights(self.engine, self.encoder)
        if self.rank != 0:
            return
        chosen = best(log) if self.options.export == "best" else None
        if chosen is not None and chosen["step"] != self.plan.steps:
            weights = load_file(self.checkpoints.of_step(chosen["step"]) / WEIGHTS)
        parts = load_parts(job.encoder, self.options.max_length)
        for name, weight in encoder_of(parts).named_parameters():
            weight.data = weights[name]
        try:
            export(parts, job, self.tables, log)
        except (OSError, SafetensorError) as error:
            raise RuntimeError(f"cannot write the model to {job.out}: {error}") from error
        result = {"steps": self.plan.steps, "loss_last": log[-1]["loss"]}
        (job.work / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")

    def _shares(self, first: int) -> Iterator[tuple[int, Share]]:
        """Each step's share; the next is made while the device computes."""
        with ThreadPoolExecutor(1) as pool:
            following = pool.submit(self._share, first)
            for step in range(first, self.plan.steps + 1):
                share = following.result()
                if step < self.plan.steps:
                    following = pool.submit(self._share, step + 1)
                yield step, share

    def _share(self, step: int) -> Share:
        planned = self.plan.batch(step)
        table = self.tables[planned.dataset]
        world_size, options, overhead = self.plan.world_size, self.options, self._overhead
        return share_of(planned, table, step, self.rank, world_size, options, overhead)

    def _step(self, step: int, share: Share) -> tuple[float, float]:
        """The whole batch's loss and gradient norm; the same numbers on all devices."""
        own = backward(self.engine, share, self.options)
        loss, grad_norm = apply_step(self.engine, own, self.options)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            planned = share.planned
            row_ids = self.tables[planned.dataset].row_ids[planned.rows].tolist()
            raise TrainingDiverged(step, planned.dataset, row_ids, loss, grad_norm)
        return loss, grad_norm

    def _score(self, step: int) -> dict[str, Any] | None:
        every = self.options.evaluate_every
        if step == self.plan.steps or (every and step % every == 0):
            return score(self.engine, self.plan, self.tables, self.options)
        return None

    def _save(self, step: int) -> None:
        """A checkpoint every so many steps, and of the best step with its weights for export."""
        due = step % self.options.checkpoint_every == 0
        last = self.log.records[-1:]
        if not due and not any(record["step"] == step and "held_out" in record for record in last):
            return
        chosen = best(self.log.records)
        is_best = chosen is not None and chosen["step"] == step
        if due or is_best:
            weights = whole_weights(self.engine, self.encoder) if is_best else None
            self.checkpoints.save(step, self.log.lines, self.log.state(), weights)
            keep = self.options.keep_checkpoints
            self.checkpoints.prune(keep, chosen["step"] if chosen else None)

    def _resume(self) -> int:
        """The step that has been done last."""
        found = self.checkpoints.resume(self._usable)
        if found is None:
            self.log.restore([], {})
            return 0
        log = (self.checkpoints.of_step(found.step) / LOG).read_text(encoding="utf-8")
        self.log.restore(log.splitlines(), found.log_state)
        return found.step

    def _usable(self, folder: Path) -> str | None:
        """The best step so far must be there still, where it is what gets exported."""
        lines = (folder / LOG).read_text(encoding="utf-8").splitlines()
        chosen = best([json.loads(line) for line in lines])
        if self.options.export != "best" or chosen is None:
            return None
        at = self.checkpoints.of_step(chosen["step"])
        reason = None if at == folder else read(at)[1]
        return None if reason is None else f"the best step's checkpoint {at}: {reason}"
