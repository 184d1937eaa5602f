"""The store: what is not whole is never taken for an artifact, and no key is built twice."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts import sealing
from artifacts.keys import Spec, canonical_json, sha256_file
from artifacts.store import MANIFEST, Store, lock_name

SPEC = Spec("pairs", "toy", 1, {"cap": 3}, {"fetch": "abc"})


def write_two(folder: Path) -> Mapping[str, Any]:
    (folder / "a.txt").write_text("alpha")
    (folder / "deep").mkdir()
    (folder / "deep" / "b.txt").write_text("beta")
    return {"rows": 2}


def refuse(folder: Path) -> Mapping[str, Any]:
    raise AssertionError("built although it was there")


def replace_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("file")


def replace_file(path: Path) -> None:
    path.unlink()
    path.mkdir()


def recount(manifest: Path) -> None:
    """A flipped bit that leaves JSON of the same size."""
    manifest.write_text(manifest.read_text().replace('"rows":2', '"rows":3'))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_second_build_finds_the_first(store: Store) -> None:
    made, built = store.build(SPEC, write_two)
    found, again = store.build(SPEC, refuse)
    assert (built, again) == (True, False)
    assert found.folder == made.folder == store.root / "pairs" / "toy" / SPEC.key
    assert found.file("deep/b.txt").read_text() == "beta"
    assert found.manifest.counts == {"rows": 2}


def test_what_is_there_is_served_without_a_lock(store: Store) -> None:
    """A full or read-only disk holds no new file, and a lock may be one."""
    made, _ = store.build(SPEC, write_two)
    shutil.rmtree(store.root / ".locks")
    (store.root / ".locks").write_text("no folder")
    assert store.build(SPEC, refuse)[0].folder == made.folder


def test_two_builds_are_the_same_bytes(tmp_path: Path) -> None:
    folders = [Store(tmp_path / name).build(SPEC, write_two)[0].folder for name in "ab"]
    for name in ("a.txt", "deep/b.txt", MANIFEST):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_failure_leaves_no_artifact(store: Store) -> None:
    def half(folder: Path) -> Mapping[str, Any]:
        write_two(folder)
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        store.build(SPEC, half)
    assert store.find(SPEC) is None
    assert list(store.artifacts()) == []


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "a.txt").unlink(), "a.txt is missing"),
        (lambda folder: (folder / "a.txt").write_text("alp"), "a.txt has 3 bytes instead of 5"),
        (lambda folder: (folder / "a.txt").write_text("alphA"), "a.txt has changed"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "manifest.json cannot be read"),
        (lambda folder: recount(folder / MANIFEST), "manifest.json has changed"),
        (
            lambda folder: replace_folder(folder / "deep"),
            "deep/b.txt cannot be read (Not a directory)",
        ),
        (
            lambda folder: replace_file(folder / MANIFEST),
            "manifest.json cannot be read (Is a directory)",
        ),
        (replace_folder, "manifest.json cannot be read (Not a directory)"),
    ],
)
def test_damage_is_seen_and_mended(store: Store, damage: Any, problem: str) -> None:
    artifact, _ = store.build(SPEC, write_two)
    damage(artifact.folder)
    assert store.problem(SPEC) == problem
    mended, built = store.build(SPEC, write_two)
    assert built and store.problem(SPEC) is None
    assert mended.file("a.txt").read_text() == "alpha"
    assert not list((store.root / ".tmp").iterdir())


def unreadable(monkeypatch: pytest.MonkeyPatch, file: Path, number: int) -> None:
    def read(path: Path) -> str:
        if path == file:
            raise OSError(number, os.strerror(number), str(path))
        return sha256_file(path)

    monkeypatch.setattr(sealing, "sha256_file", read)


def test_a_bad_sector_is_damage_like_any_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """verify goes on, and the next build makes it again."""
    bad, _ = store.build(SPEC, write_two)
    changed, _ = store.build(Spec("shards", "toy", 1, {}), write_two)
    changed.file("a.txt").write_text("alphA")
    unreadable(monkeypatch, bad.file("a.txt"), errno.EIO)
    assert store.problem(SPEC) is None
    wrong = f"a.txt cannot be read ({os.strerror(errno.EIO)})"
    assert store.verify() == [(bad.folder, wrong), (changed.folder, "a.txt has changed")]
    assert store.problem(SPEC) == wrong
    monkeypatch.undo()
    bad.file("a.txt").unlink()
    assert store.build(SPEC, write_two)[1]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.ENOSPC])
def test_what_is_no_damage_is_not_taken_for_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Else a wrong umask would have all of a store built again."""
    artifact, _ = store.build(SPEC, write_two)
    os.utime(artifact.file("a.txt"))
    unreadable(monkeypatch, artifact.file("a.txt"), number)
    for look in (store.verify, lambda: store.build(SPEC, refuse)):
        with pytest.raises(OSError, match=os.strerror(number)):
            look()


def test_touched_but_unchanged_file_is_kept(store: Store) -> None:
    artifact, _ = store.build(SPEC, write_two)
    artifact.file("a.txt").write_text("alpha")
    assert store.problem(SPEC) is None


def test_verify_hashes_what_no_stat_shows(store: Store) -> None:
    artifact, _ = store.build(SPEC, write_two)
    path = artifact.file("a.txt")
    sealed = path.stat()
    path.write_text("alphA")
    os.utime(path, ns=(sealed.st_atime_ns, sealed.st_mtime_ns))
    assert store.problem(SPEC) is None
    assert store.verify() == [(artifact.folder, "a.txt has changed")]
    assert store.problem(SPEC) == "a.txt has changed"  # so that the next build mends it


def test_an_artifact_at_another_place_is_none(store: Store) -> None:
    """Copied or renamed by hand: a key says what is in it."""
    artifact, _ = store.build(SPEC, write_two)
    other = Spec("pairs", "toy", 1, {"cap": 4})
    shutil.copytree(artifact.folder, store.folder(other))
    assert store.problem(other) == f"manifest.json is that of pairs/toy/{SPEC.key}"


def test_a_manifest_of_old_has_no_checksum(store: Store) -> None:
    """Stores from before it keep their artifacts."""
    artifact, _ = store.build(SPEC, write_two)
    fields = json.loads((artifact.folder / MANIFEST).read_text())
    del fields["checksum"]
    (artifact.folder / MANIFEST).write_text(canonical_json(fields) + "\n")
    assert store.problem(SPEC) is None


def test_plan_tells_never_built_from_changed(store: Store) -> None:
    assert store.problem(SPEC) == "never built"
    store.build(SPEC, write_two)
    assert store.problem(Spec("pairs", "toy", 2, {"cap": 3})) == "inputs changed"


def _count_builds(root: Path, log: Path) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        with log.open("a") as file:
            file.write("built\n")
        return write_two(folder)

    Store(root).build(SPEC, make)


def test_builders_at_once_build_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_count_builds, args=(tmp_path / "s", log)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert log.read_text() == "built\n"


def _die_half_way(root: Path) -> None:
    def make(folder: Path) -> Mapping[str, Any]:
        write_two(folder)
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    Store(root).build(SPEC, make)


def test_killed_builder_leaves_neither_artifact_nor_lock(store: Store) -> None:
    worker = multiprocessing.get_context("fork").Process(target=_die_half_way, args=(store.root,))
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    _, built = store.build(SPEC, write_two)
    assert built


def test_a_lock_is_seen_while_it_is_held_and_tells_the_inputs(store: Store) -> None:
    seen = []

    def look(folder: Path) -> Mapping[str, Any]:
        seen.append((store.held(), store.remove(folder, lock_name(store.folder(SPEC)))))
        return write_two(folder)

    store.build(SPEC, look)
    assert seen == [({f"pairs-toy-{SPEC.key}": {"fetch": "abc"}}, False)]
    assert store.held() == {}


def test_what_is_removed_is_gone_at_once(store: Store) -> None:
    artifact, _ = store.build(SPEC, write_two)
    assert store.remove(artifact.folder, lock_name(artifact.folder))
    assert store.problem(SPEC) == "never built"
    assert not list((store.root / ".tmp").iterdir())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), JSON))
def test_key_does_not_depend_on_the_order_of_fields(params: dict[str, Any]) -> None:
    backwards = dict(reversed(list(params.items())))
    assert Spec("mine", "x", 1, params).key == Spec("mine", "x", 1, backwards).key


@pytest.mark.parametrize("value", [{1, 2}, float("nan")])
def test_values_without_one_spelling_are_refused(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical_json({"x": value})
