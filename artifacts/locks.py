"""Locks of a store, files below `.locks`. The kernel lets one go when its holder dies, even by
kill -9.

    <stage>-<dataset>-<key>  who builds that artifact; tells the keys it is made from
    flow-<random>            a flow that runs; tells the keys of all that it makes or reads
    gc                       a gc that deletes; flows that plan share it, so that neither begins
                             while the other goes on
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from artifacts.errors import InputError
from artifacts.keys import canonical_json

_logger = logging.getLogger(__name__)
_GC = "gc"
_FLOW = "flow-"
# A store that cannot be written to, or a file system without locks.
_NOT_LOCKABLE = {
    errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT,
    errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP,
}  # fmt: skip


def lock_name(folder: Path) -> str:
    """Of the artifact in `folder`."""
    return "-".join(folder.parts[-3:])


@contextmanager
def locked(folder: Path, name: str, keys: Mapping[str, str]) -> Iterator[None]:
    """Waits for the lock; then its file tells `keys` (see `held`)."""
    with _opened(folder, name) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(canonical_json(dict(keys)))
        file.flush()
        yield


@contextmanager
def unlocked(folder: Path, name: str) -> Iterator[bool]:
    """Whether nobody holds the lock; then nobody takes it within."""
    with _opened(folder, name) as file:
        yield _is_free(file)


def held(folder: Path) -> dict[str, dict[str, str] | None]:
    """Name of each lock that a process holds now, but gc's -> the keys that it tells.

    None where it has not told them yet.
    """
    found: dict[str, dict[str, str] | None] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        with suppress(FileNotFoundError), _readable(path) as file:
            if path.name != _GC and not _is_free(file):
                found[path.name] = None
                with suppress(json.JSONDecodeError):
                    found[path.name] = json.load(file)
    return found


@contextmanager
def in_use(folder: Path) -> Iterator[Callable[[Collection[str]], None]]:
    """For a flow, around its plan and its work. Yields what it calls with all keys it needs, once.

    From then to its end gc leaves them, and all that they are made from; before, no gc deletes
    anything, so that what the plan has found is still there. A store that is full or read-only
    serves what it has without it, and so does a file system without locks.
    """
    with ExitStack() as work, ExitStack() as plan:

        def need(keys: Collection[str]) -> None:
            with _if_lockable():
                work.enter_context(_needed(folder, keys))
            plan.close()

        with _if_lockable():
            _share(plan.enter_context(_of_gc(folder)))
        yield need


def _of_gc(folder: Path) -> IO[str]:
    try:
        return _opened(folder, _GC)
    except PermissionError:
        if not (folder / _GC).exists():
            raise
        return (folder / _GC).open()  # another user's


def _share(file: IO[str]) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        _logger.warning("%s: waiting for a gc to end", Path(file.name).parents[1])
        fcntl.flock(file, fcntl.LOCK_SH)


@contextmanager
def _needed(folder: Path, keys: Collection[str]) -> Iterator[None]:
    name = f"{_FLOW}{uuid.uuid4().hex}"
    try:
        with locked(folder, name, {key: key for key in keys}):
            yield
    finally:
        (folder / name).unlink(missing_ok=True)


@contextmanager
def deleting(folder: Path) -> Iterator[None]:
    """For a gc. Raises InputError where a flow is planning, or another gc at work."""
    with unlocked(folder, _GC) as free:
        if not free:
            raise InputError(
                f"store {folder.parent}: a flow has just begun, or another gc is at work there: "
                "run it again"
            )
        for path in folder.glob(f"{_FLOW}*"):
            # None begins now. Of another user's it cannot be told.
            with suppress(PermissionError), unlocked(folder, path.name) as dead:
                if dead:
                    path.unlink(missing_ok=True)
        yield


@contextmanager
def _if_lockable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NOT_LOCKABLE:
            raise


def _opened(folder: Path, name: str) -> IO[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / name).open("a+")


def _readable(path: Path) -> IO[str]:
    """Over NFS only a file that may be written to can be locked."""
    try:
        return path.open("r+")
    except OSError:
        return path.open()


def _is_free(file: IO[str]) -> bool:
    """Whether nobody holds the lock; then `file` does, until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
