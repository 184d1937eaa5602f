"""Which processes `medi up` started, in a file under the Prefect home.

A part is known by its id and its command line: an id alone may have gone to a stranger. What a part
starts is known by its environment: it lives on where the part was killed.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, ValidationError

from artifacts.errors import InputError

MARK = "MEDI_UP"
_GRACE_S = 45  # a worker waits up to 30 s for its flow runs


class Part(BaseModel):
    """A process that was started: "medi up" itself, "server", "worker"."""

    model_config = ConfigDict(frozen=True)
    name: str
    pid: int
    command: list[str]

    def process(self) -> psutil.Process | None:
        """None where it has ended, or its id belongs to another process now."""
        try:
            process = psutil.Process(self.pid)
            same = process.cmdline() == self.command and process.is_running()
        except psutil.Error:
            return None
        return process if same else None


class Running(BaseModel):
    """What a `medi up` runs; `ready` when all of it answers.

    All processes below it have `mark` in their environment, also those whose parent is gone.
    """

    model_config = ConfigDict(frozen=True)
    url: str
    ready: bool
    parts: list[Part]
    mark: str = ""  # none of a `medi up` of an older version

    def part(self, name: str) -> psutil.Process | None:
        found = [part for part in self.parts if part.name == name]
        return found[0].process() if found else None

    @property
    def alive(self) -> list[psutil.Process]:
        """The parts, then what they started."""
        return list(dict.fromkeys([*self._parts(), *self._marked()]))

    def flow_runs(self) -> list[psutil.Process]:
        """What the worker started: all but the parts and what is below the server."""
        others = {*self._parts(), *descendants(self.part("server"))}
        return [process for process in self._marked() if process not in others]

    def _parts(self) -> list[psutil.Process]:
        return [process for part in self.parts if (process := part.process())]

    def _marked(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter() if self.mark else ():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark:
                    yield process


def folder() -> Path:
    """The state file and the logs of the parts. Raises InputError where it cannot be made."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    made = home / "medi-up"
    try:
        made.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{made}: {error.strerror}; set PREFECT_HOME to another folder") from error
    return made


def own_command() -> list[str]:
    return list(psutil.Process().cmdline())


def read_state() -> Running | None:
    try:
        return Running.model_validate_json((folder() / "state.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def write_state(running: Running) -> None:
    fresh = folder() / "state.json.new"
    fresh.write_text(running.model_dump_json(), encoding="utf-8")
    fresh.replace(folder() / "state.json")


def forget() -> None:
    (folder() / "state.json").unlink(missing_ok=True)


@contextmanager
def only_one() -> Iterator[None]:
    """Held while `medi up` runs, let go by the kernel when it dies.

    Raises InputError where another holds it, or where processes of one that was killed live on.
    """
    with (folder() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            running = read_state()
            at = f" at {running.url.removesuffix('/api')}" if running else ""
            raise InputError(f"medi is up already{at}: `medi down` ends it") from error
        left = read_state()
        if left and left.alive:
            raise InputError(
                "an earlier `medi up` was killed, its server is not: `medi down` first"
            )
        yield


def end(processes: Sequence[psutil.Process], grace_s: float = _GRACE_S) -> None:
    """Ask `processes` to end; kill those that have not after `grace_s` seconds."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    for process in _left(processes, grace_s):
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _left(processes, 10)


def descendants(process: psutil.Process | None) -> list[psutil.Process]:
    with suppress(psutil.Error):
        return list(process.children(recursive=True)) if process else []
    return []


def _left(processes: Sequence[psutil.Process], patience_s: float) -> list[psutil.Process]:
    """Those that still run after `patience_s` seconds; one that nobody has waited for does not."""
    deadline = time.monotonic() + patience_s
    while left := [process for process in processes if _runs(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return left


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
