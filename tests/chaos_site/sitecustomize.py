"""Put first on PYTHONPATH by tests/chaos.py: every Python started then obeys CHAOS.

clock:S       the clock is S seconds back
ENOSPC:N:DIR  below DIR, what writes fails from the Nth time on (EACCES: likewise)
FSIZE:N       no file grows beyond N bytes
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import resource
import time
from collections.abc import Callable
from typing import Any


def set_clock_back(seconds: int) -> None:
    now, now_ns = time.time, time.time_ns
    time.time = lambda: now() - seconds
    time.time_ns = lambda: now_ns() - seconds * 10**9


def refuse_writes(kind: str, after: int, folder: str) -> None:
    count = 0

    def tick(path: Any) -> None:
        nonlocal count
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(folder):
            count += 1
            if count > after:
                number = getattr(errno, kind)
                raise OSError(number, os.strerror(number), os.fspath(path))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(path: Any, *arguments: Any, **named: Any) -> Any:
            tick(path)
            return call(path, *arguments, **named)

        return wrapper

    opened = builtins.open

    def open_counted(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if set(mode) & set("wax+"):
            tick(file)
        return opened(file, mode, *arguments, **named)

    for name in ("mkdir", "rename", "replace", "link", "truncate"):
        setattr(os, name, counted(getattr(os, name)))
    io.open = builtins.open = open_counted  # type: ignore[assignment]


kind, *values = os.environ.get("CHAOS", "").split(":")
if kind == "clock":
    set_clock_back(int(values[0]))
elif kind in ("ENOSPC", "EACCES"):
    refuse_writes(kind, int(values[0]), values[1])
elif kind == "FSIZE":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(values[0]), int(values[0])))
