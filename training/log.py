"""log.jsonl: what a training did, a line every few steps."""

from __future__ import annotations

import json
import resource
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from training.engine import sum_over_devices
from training.step import Share


class StepLog:
    """Every device has one; rank 0 writes.

    A record: step, dataset, loss, lr and grad_norm (before clipping) are of the step; losses (mean
    of each dataset), rows, tokens and seconds are of all steps since the record before. `tokens`
    counts what the texts hold, `tokens_computed` what was computed with padding. memory_mib is the
    most that rank 0 has used: of its GPU, or of the process on CPU.
    """

    def __init__(self, path: Path, device: torch.device, rank: int) -> None:
        self.records: list[dict[str, Any]] = []
        self._path = path
        self._device = device
        self._rank = rank
        self._sums: list[float] = []
        self._losses: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0])
        self._start_over()

    def restore(self, lines: Sequence[str], state: dict[str, Any]) -> None:
        """Back to these lines and to what `state` gave; both empty: to the beginning."""
        self.records = [json.loads(line) for line in lines]
        self._start_over()
        if self._rank == 0:
            self._sums = [float(value) for value in state.get("sums", self._sums)]
            text = "".join(line.rstrip("\n") + "\n" for line in lines)
            self._path.write_text(text, encoding="utf-8")
        for dataset, losses in state.get("losses", {}).items():
            self._losses[dataset] = list(losses)

    def state(self) -> dict[str, Any]:
        """What has been counted since the last record, of all devices; every device must call."""
        return {"sums": sum_over_devices(self._sums, self._device), "losses": dict(self._losses)}

    @property
    def lines(self) -> list[str]:
        return [json.dumps(record) + "\n" for record in self.records]

    def count(self, share: Share, loss: float, seconds: float) -> None:
        """`loss` is the whole batch's."""
        rows = share.counts[self._rank]
        if self._rank != 0:
            seconds = 0.0  # the sum is over the devices, and they work at the same time
        for i, value in enumerate((rows, share.tokens, share.tokens_computed, seconds)):
            self._sums[i] += value
        losses = self._losses[share.planned.dataset]
        losses[0] += loss
        losses[1] += 1

    def write(
        self,
        step: int,
        dataset: str,
        *,
        loss: float,
        lr: float,
        grad_norm: float,
        held_out: dict[str, Any] | None = None,
    ) -> None:
        """Every device must call it."""
        rows, tokens, computed, seconds = sum_over_devices(self._sums, self._device)
        record = {
            "step": step,
            "dataset": dataset,
            "loss": loss,
            "losses": {name: total / n for name, (total, n) in sorted(self._losses.items())},
            "lr": lr,
            "grad_norm": grad_norm,
            "rows": int(rows),
            "tokens": int(tokens),
            "tokens_computed": int(computed),
            "padding_efficiency": round(tokens / computed, 4),
            "seconds": round(seconds, 3),
            "tokens_per_second": round(tokens / seconds, 1),
            "memory_mib": round(_peak_memory(self._device) / 2**20),
        }
        if held_out is not None:
            record["held_out"] = held_out
        self.records.append(record)
        if self._rank == 0:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        self._start_over()

    def _start_over(self) -> None:
        self._sums = [0.0, 0.0, 0.0, 0.0]
        self._losses.clear()


def _peak_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
