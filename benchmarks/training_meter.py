"""What a training does, counted alike for every trainer: at the encoder and the optimizer."""

from __future__ import annotations

import time
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook

from benchmarks.measure import Clock, Figures


class Meter:
    """Counts from the first forward pass, or from the end of step `warmup`, to that of step `last`.

    A step is one optimizer.step(), of whatever optimizer; a row is `texts_a_row` texts. Padding
    is what the encoder computes beyond its attention mask.
    """

    def __init__(self, device: str, warmup: int, last: int, texts_a_row: int) -> None:
        self._device = device
        self._warmup, self._last = warmup, last
        self._texts_a_row = texts_a_row
        self._step = 0
        self._start: tuple[float, float] | None = None
        self._seconds = self._cpu_seconds = 0.0
        self._memory = Clock(device)
        self._peaks: Figures = {}
        self._forget()
        self._hook = register_optimizer_step_post_hook(self._stepped)

    def watch(self, transformer: Any) -> None:
        """`transformer` is the module that gets input_ids and attention_mask (B, L) by name."""
        forward = transformer.forward  # sentence-transformers calls it past the module's hooks

        @wraps(forward)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._passed(kwargs["attention_mask"])
            return forward(*args, **kwargs)

        transformer.forward = counted

    def figures(self) -> Figures:
        """Rows, tokens and seconds of the steps measured; memory in MiB, `training` its growth.

        Raises ValueError where the training ended before step `last`.
        """
        if self._step < self._last:
            raise ValueError(f"the training ended after {self._step} steps, not {self._last}")
        lengths_N = torch.cat(self._lengths).double().cpu()
        rows, tokens = len(lengths_N) / self._texts_a_row, float(lengths_N.sum())
        return {
            "steps": self._last - self._warmup,
            "rows": rows,
            "length": float(lengths_N.square().sum()) / tokens,  # what a token attends to
            "rows_a_second": rows / self._seconds,
            "tokens_a_second": tokens / self._seconds,
            "efficiency": tokens / self._computed,
            "cpu_a_row": 1000 * self._cpu_seconds / rows,
            "peak": self._peaks["peak"],
            "training": self._peaks["mining"],
            "gpu": self._peaks.get("gpu"),
        }

    def _forget(self) -> None:
        self._computed = 0
        self._lengths: list[Tensor] = []

    def _passed(self, mask_BL: Tensor) -> None:
        if self._start is None:
            self._begin()
        if self._step < self._last:
            self._computed += mask_BL.numel()
            self._lengths.append(mask_BL.sum(dim=1))  # no numbers yet: that waits for the GPU

    def _stepped(self, *ignored: Any) -> None:
        self._step += 1
        if self._step == self._warmup:
            self._begin()
            self._forget()
        elif self._step == self._last and self._start is not None:
            now = self._now()
            self._seconds, self._cpu_seconds = now[0] - self._start[0], now[1] - self._start[1]
            self._peaks = self._memory.figures()
            self._hook.remove()

    def _begin(self) -> None:
        self._start = self._now()

    def _now(self) -> tuple[float, float]:
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()
