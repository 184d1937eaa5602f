"""What a flow says that it needs is held as long as it lives; no gc begins while it plans."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError
from artifacts.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def told(store: Store) -> list[Collection[str]]:
    return [set(keys or ()) for keys in store.held().values()]


def test_what_a_flow_needs_is_told_to_its_end(store: Store) -> None:
    with store.in_use() as need:
        assert store.held() == {}
        need({"a", "b"})
        with store.in_use() as another:
            another({"c"})
            assert {frozenset(keys) for keys in told(store)} == {frozenset("ab"), frozenset("c")}
        assert told(store) == [{"a", "b"}]
    assert store.held() == {}
    assert not list((store.root / ".locks").glob("flow-*"))


def _die(store: Store) -> None:
    with store.in_use() as need:
        need({"a"})
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_flow_needs_nothing(store: Store) -> None:
    flow = multiprocessing.get_context("fork").Process(target=_die, args=(store,))
    flow.start()
    flow.join()
    assert list((store.root / ".locks").glob("flow-*"))
    assert store.held() == {}
    with store.in_use() as need:
        need({"b"})
        with store.deleting():  # the file of the dead one goes
            assert told(store) == [{"b"}]
            assert len(list((store.root / ".locks").glob("flow-*"))) == 1


def test_nothing_is_deleted_while_a_flow_plans(store: Store) -> None:
    with store.in_use() as need:
        with pytest.raises(InputError, match="run it again"), store.deleting():
            pass
        need({"a"})
        with store.deleting():
            pass


def test_two_gcs_do_not_delete_at_once(store: Store) -> None:
    with (
        store.deleting(),
        pytest.raises(InputError, match="run it again"),
        store.deleting(),
    ):
        pass


def test_a_flow_plans_when_what_goes_is_gone(store: Store) -> None:
    order = []

    def flow() -> None:
        with store.in_use():
            order.append("planned")

    planning = threading.Thread(target=flow)
    with store.deleting():
        planning.start()
        planning.join(timeout=0.1)
        order.append("deleted")
    planning.join()
    assert order == ["deleted", "planned"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.ENOLCK])
def test_a_store_that_cannot_be_written_to_serves_a_flow(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(path: Path, *arguments: Any) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with store.in_use() as need:
        need({"a"})


_opened = Path.open


def reading_only(path: Path, mode: str = "r") -> Any:
    """Path.open of what belongs to another user."""
    if mode != "r":
        raise PermissionError(errno.EACCES, "no", str(path))
    return _opened(path)


def test_locks_of_another_user_are_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """They may only be read."""
    with store.in_use() as need:
        need({"a"})
        monkeypatch.setattr(Path, "open", reading_only)
        assert told(store) == [{"a"}]


def test_a_flow_of_another_user_plans_behind_a_gc(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is the other's, and a lock that is shared needs no more than to read it."""
    with store.deleting():
        pass
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", reading_only)
        planning = store.in_use()
        planning.__enter__()
    with pytest.raises(InputError, match="run it again"), store.deleting():
        pass
    planning.__exit__(None, None, None)
    with store.deleting():
        pass
