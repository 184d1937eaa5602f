"""Which device of this machine is free: an evaluation takes one of them, whole."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Devices:
    """Devices by name, each held by one thread of this process at a time."""

    def __init__(self) -> None:
        self._held: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def any_of(self, names: Sequence[str]) -> Iterator[str]:
        """The first of `names` that nobody holds; waits for one."""
        with self._changed:
            self._changed.wait_for(lambda: self._free(names))
            name = self._free(names)[0]
            self._held.add(name)
        try:
            yield name
        finally:
            with self._changed:
                self._held.remove(name)
                self._changed.notify_all()

    def _free(self, names: Sequence[str]) -> list[str]:
        return [name for name in names if name not in self._held]


devices = Devices()
