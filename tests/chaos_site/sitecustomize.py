"""Put first on PYTHONPATH by tests/chaos.py: every Python started then obeys CHAOS.

clock:S:N        the clock goes S seconds back when it has been read N times
ENOSPC:N:DIR     below DIR, what writes fails from the Nth time on (EACCES: likewise)
COUNT:FILE:DIR   a line in FILE says how often this process wrote below DIR
FSIZE:N          no file grows beyond N bytes
"""

from __future__ import annotations

import atexit
import builtins
import errno
import io
import itertools
import os
import resource
import time
from collections.abc import Callable
from typing import Any


def set_clock_back(seconds: int, after: int) -> None:
    now, now_ns, reads = time.time, time.time_ns, itertools.count()
    time.time = lambda: now() - seconds * (next(reads) >= after)
    time.time_ns = lambda: now_ns() - seconds * 10**9 * (next(reads) >= after)


def watch_writes(folder: str, tell: Callable[[int, str], None]) -> None:
    """`tell` gets the number and path of each write before it is done."""
    count = 0

    def tick(path: Any) -> None:
        nonlocal count
        if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(folder):
            count += 1
            tell(count, os.fspath(path))

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


def refuse(kind: str, after: int) -> Callable[[int, str], None]:
    number = getattr(errno, kind)

    def tell(count: int, path: str) -> None:
        if count > after:
            raise OSError(number, os.strerror(number), path)

    return tell


def note(file: str) -> Callable[[int, str], None]:
    counts = [0]

    def write() -> None:
        with open(file, "a", encoding="utf-8") as out:  # noqa: PTH123
            out.write(f"{counts[-1]}\n")

    atexit.register(write)
    return lambda count, _: counts.append(count)


kind, *values = os.environ.get("CHAOS", "").split(":")
if kind == "clock":
    set_clock_back(int(values[0]), int(values[1]))
elif kind in ("ENOSPC", "EACCES"):
    watch_writes(values[1], refuse(kind, int(values[0])))
elif kind == "COUNT":
    watch_writes(values[1], note(values[0]))
elif kind == "FSIZE":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(values[0]), int(values[0])))
