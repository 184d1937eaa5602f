"""Progress of long work: a rich bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Steps:
    """Counts `total` steps; `done` names the one that ended, `at` says how many have."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._count = 0
        console = Console(file=sys.stderr)
        self._bar = (
            Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            if console.is_terminal
            else None
        )

    def __enter__(self) -> Steps:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()

    def done(self, what: str) -> None:
        self.at(self._count + 1, what)

    def at(self, count: int, what: str) -> None:
        self._count = count
        if self._bar:
            self._bar.update(self._task, completed=count, description=what)
        else:
            print(f"[{self._count}/{self._total}] {what}", file=sys.stderr, flush=True)
