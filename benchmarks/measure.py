"""What a benchmark measures of its own process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Figures = dict[str, Any]


class Clock:
    """Seconds spent in the functions that it wraps, and memory taken since it was made."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._before = _peak_mib()
        self._cpu_before = time.process_time()
        self._seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self._seconds[name] = self._seconds.get(name, 0.0) + time.perf_counter() - start
            return result

        return run

    def figures(self) -> Figures:
        peak = _peak_mib()
        memory = {"peak": peak, "mining": peak - self._before}
        if self._device == "cuda":
            import torch

            memory["gpu"] = torch.cuda.max_memory_allocated() / 2**20
        return {**self._seconds, "cpu": time.process_time() - self._cpu_before, **memory}


def _peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # where, unlike in getrusage, a parent's memory is not counted
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def product_rate(shape: tuple[int, int, int], device: str) -> Figures:
    """GFLOP/s of torch.mm in fp32 over the same queries, 512 at a time, and the same documents."""
    import torch

    queries, dim, documents = shape
    flops = 2 * queries * dim * documents
    left = torch.rand(min(512, queries), dim, device=device)
    right = torch.rand(documents, dim, device=device)
    out = torch.empty(len(left), documents, device=device)

    def seconds() -> float:
        start = time.perf_counter()
        for _ in range(0, queries, len(left)):
            torch.mm(left, right.T, out=out)
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    done = -(-queries // len(left)) * len(left) / queries
    best = min(seconds() for _ in range(3))
    return {"gflop": flops / 1e9, "product_rate": flops * done / best / 1e9}
