"""A store on object storage: what is not whole there is no artifact, and nothing is made twice."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import NotInStore
from artifacts.keys import Spec
from artifacts.manifest import MANIFEST
from artifacts.remote import Remote
from artifacts.store import Artifact, Store
from tests.object_storage import Server, s3

SPEC = Spec("pairs", "toy", 1, {"cap": 3}, {"fetch": "abc"})
NAME = f"pairs/toy/{SPEC.key}"
CONTENTS = {"a.txt": b"alpha", "deep/b [1].txt": b"beta", "empty": b""}

_spawn = multiprocessing.get_context("spawn")


def write(folder: Path) -> Mapping[str, Any]:
    (folder / "deep").mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    return {"rows": 2, "score": 0.1}


def refuse(folder: Path) -> Mapping[str, Any]:
    raise AssertionError("built although it was there")


def forget(store: Store) -> None:
    assert store.remote is not None
    there = store.remote.read(NAME)
    assert there is not None and store.remote.discard(NAME, there.attempt)


def objects(location: str, folder: str) -> list[str]:
    root = location.removeprefix("s3://")
    return [path.removeprefix(f"{root}/") for path in s3().find(f"{root}/{folder}")]


def files_of(artifact: Artifact) -> dict[str, bytes]:
    found = [*artifact.files, artifact.folder / MANIFEST]
    return {path.relative_to(artifact.folder).as_posix(): path.read_bytes() for path in found}


def test_another_machine_builds_nothing_and_has_the_same_bytes(
    machine: Callable[[str], Store], tmp_path: Path
) -> None:
    made, built = machine("a").build(SPEC, write)
    other = machine("b")
    assert other.problem(SPEC) is None
    found, again = other.build(SPEC, refuse)
    assert (built, again) == (True, False)
    assert found.folder != made.folder and found.manifest == made.manifest
    plain, _ = Store(tmp_path / "plain").build(SPEC, write)
    assert files_of(found) == files_of(made) == files_of(plain)
    assert {name: files_of(plain)[name] for name in CONTENTS} == CONTENTS


def test_a_cache_is_read_without_a_request(
    machine: Callable[[str], Store], s3_server: Server
) -> None:
    machine("a").build(SPEC, write)
    store = machine("a")
    before = s3_server.requests()
    assert store.get(SPEC).file("a.txt").read_bytes() == b"alpha"
    assert s3_server.requests() == before


def test_what_only_the_cache_has_is_uploaded(machine: Callable[[str], Store]) -> None:
    """The bucket was emptied, or another machine's gc went through it."""
    store = machine("a")
    store.build(SPEC, write)
    forget(store)
    store = machine("a")
    assert store.problem(SPEC) == "not uploaded yet"
    assert store.build(SPEC, refuse)[1] is False
    assert machine("b").build(SPEC, refuse)[0].file("a.txt").read_bytes() == b"alpha"


def test_a_copy_in_the_cache_that_rotted_is_not_uploaded(machine: Callable[[str], Store]) -> None:
    store = machine("a")
    made, _ = store.build(SPEC, write)
    path = made.file("a.txt")
    sealed = path.stat()
    path.write_bytes(b"alphA")
    os.utime(path, ns=(sealed.st_atime_ns, sealed.st_mtime_ns))
    forget(store)
    machine("a").build(SPEC, write)
    assert machine("b").get(SPEC).file("a.txt").read_bytes() == b"alpha"


def test_a_broken_copy_in_the_cache_is_downloaded_again(machine: Callable[[str], Store]) -> None:
    made, _ = machine("a").build(SPEC, write)
    made.file("a.txt").write_bytes(b"alphA")
    found, again = machine("a").build(SPEC, refuse)
    assert not again and found.file("a.txt").read_bytes() == b"alpha"


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (b"alphA", "a.txt has changed"),
        (b"alp", "a.txt has 3 bytes instead of 5"),
        (None, "a.txt is missing"),
    ],
)
def test_a_damaged_file_is_told_and_made_again(
    machine: Callable[[str], Store],
    location: str,
    caplog: pytest.LogCaptureFixture,
    damage: bytes | None,
    problem: str,
) -> None:
    machine("a").build(SPEC, write)
    (path,) = (p for p in objects(location, "files") if p.endswith("a.txt"))
    where = f"{location.removeprefix('s3://')}/{path}"
    if damage is None:
        s3().rm_file(where)
    else:
        s3().pipe_file(where, damage)
    other = machine("b")
    assert other.problem(SPEC) is None  # the manifest is there: planning looks no further
    with pytest.raises(NotInStore, match=f"^pairs: toy is not in the store s3://.*: {problem}$"):
        other.get(SPEC)
    assert [record.message for record in caplog.records] == [
        f"{location}/{NAME}: {problem}: it must be made again"
    ]
    assert other.problem(SPEC) == problem
    assert other.build(SPEC, write)[1] is True
    assert machine("c").build(SPEC, refuse)[0].file("a.txt").read_bytes() == b"alpha"


def test_one_command_mends_what_it_finds_damaged(
    machine: Callable[[str], Store], location: str
) -> None:
    machine("a").build(SPEC, write)
    (path,) = (p for p in objects(location, "files") if p.endswith("a.txt"))
    s3().pipe_file(f"{location.removeprefix('s3://')}/{path}", b"other")
    assert machine("b").build(SPEC, write)[1] is True
    assert machine("c").build(SPEC, refuse)[0].file("a.txt").read_bytes() == b"alpha"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"attempt":"../..","manifest":{}}', None])
def test_a_damaged_manifest_is_none(
    machine: Callable[[str], Store], location: str, content: bytes | None
) -> None:
    machine("a").build(SPEC, write)
    path = f"{location.removeprefix('s3://')}/manifests/{NAME}.json"
    content = s3().cat_file(path).replace(b'"rows":2', b'"rows":3') if content is None else content
    s3().pipe_file(path, content)
    found, made = machine("b").build(SPEC, write)
    assert made and found.manifest.counts["rows"] == 2
    assert machine("c").build(SPEC, refuse)[0].manifest == found.manifest


def test_an_artifact_at_another_place_is_none(
    machine: Callable[[str], Store], location: str
) -> None:
    machine("a").build(SPEC, write)
    other = Spec("pairs", "toy", 1, {"cap": 4})
    folder = f"{location.removeprefix('s3://')}/manifests/pairs/toy"
    s3().copy(f"{folder}/{SPEC.key}.json", f"{folder}/{other.key}.json")
    assert machine("b").build(other, write)[1] is True


def test_the_first_manifest_stays(machine: Callable[[str], Store]) -> None:
    """The server says no to the second, whoever comes at the same moment."""
    made, _ = machine("a").build(SPEC, write)
    late = machine("b").remote
    assert late is not None
    there = late.read(NAME)
    with pytest.raises(FileExistsError):
        late._create(late._manifest(NAME), b"{}")
    assert late.push(NAME, made.folder, made.manifest) == there == late.read(NAME)


def test_a_put_whose_answer_was_lost_counts(
    machine: Callable[[str], Store], location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine("a")
    assert store.remote is not None
    store.remote.require_writable()
    put = store.remote.fs.pipe_file

    def put_and_fail(*arguments: Any, **options: Any) -> None:
        put(*arguments, **options)
        raise TimeoutError("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(store.remote.fs, "pipe_file", put_and_fail)
        assert store.build(SPEC, write)[1] is True
    assert len(objects(location, "files")) == len(CONTENTS)


def _die_while_uploading(location: str, cache: Path, where: str) -> None:
    os.environ["MEDI_STORE_CACHE"] = str(cache)
    store = Store.open(location)
    assert store.remote is not None

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if where == "files":
        put = store.remote.fs.put

        def put_one(local: list[str], paths: list[str], **_: Any) -> None:
            put(local[:1], paths[:1])
            die()

        store.remote.fs.put = put_one
    else:
        store.remote._create = die  # type: ignore[method-assign]
        store.remote._writable = True
    store.build(SPEC, write)


@pytest.mark.parametrize("where", ["files", "manifest"])
def test_a_killed_upload_leaves_no_artifact(
    machine: Callable[[str], Store], location: str, tmp_path: Path, where: str
) -> None:
    arguments = (location, tmp_path / "killed", where)
    worker = _spawn.Process(target=_die_while_uploading, args=arguments)
    worker.start()
    worker.join()
    assert worker.exitcode == -signal.SIGKILL
    assert objects(location, "files") and not objects(location, "manifests")
    assert machine("b").problem(SPEC) == "never built"
    for name in ("killed", "b"):
        found, made = machine(name).build(SPEC, write)
        assert made is (name == "killed") and found.file("a.txt").read_bytes() == b"alpha"


@pytest.mark.parametrize("texts", [("same", "same"), ("of a CPU", "of a GPU")])
def test_two_machines_at_once_end_with_one_artifact(
    machine: Callable[[str], Store], location: str, texts: tuple[str, str]
) -> None:
    barrier = threading.Barrier(2)

    def build(store: Store, text: str) -> tuple[Artifact, bool]:
        def make(folder: Path) -> Mapping[str, Any]:
            (folder / "a.txt").write_text(text)
            barrier.wait()
            return {}

        return store.build(SPEC, make)

    stores = [machine("a"), machine("b")]
    with ThreadPoolExecutor(2) as pool:
        (a, made_a), (b, made_b) = pool.map(build, stores, texts)
    c, made_c = machine("c").build(SPEC, refuse)
    assert made_a and made_b and not made_c
    assert files_of(a) == files_of(b) == files_of(c)
    assert len(objects(location, "manifests")) == len(objects(location, "files")) == 1


def test_planning_makes_a_request_a_stage_not_one_an_artifact(
    machine: Callable[[str], Store], s3_server: Server
) -> None:
    specs = [
        Spec(stage, f"d{n}", 1, {}) for n in range(300) for stage in ("fetch", "pairs", "mine")
    ]
    store = machine("a")
    assert store.remote is not None
    for spec in specs[::50]:
        store.build(spec, write)
    other = machine("b")
    before = len(s3_server.requests())
    problems = [other.problem(spec) for spec in specs]
    assert problems.count(None) == len(specs[::50])
    assert len(s3_server.requests()) - before <= 3 * 3
    assert not list(other.artifacts())


def test_older_artifacts_are_told_from_none(machine: Callable[[str], Store]) -> None:
    machine("a").build(SPEC, write)
    other = machine("b")
    assert other.problem(Spec("pairs", "toy", 2, {})) == "inputs changed"
    assert other.problem(Spec("pairs", "new", 2, {})) == "never built"


def test_keys_of_the_cache_and_of_the_remote(machine: Callable[[str], Store]) -> None:
    first, second = SPEC, Spec("pairs", "toy", 2, {})
    machine("a").build(first, write)
    store = machine("b")
    store.build(second, write)
    assert set(store.new_keys("pairs", "toy", ())) == {first.key, second.key}
    assert store.new_keys("pairs", "toy", {second.key}) == [first.key]


def test_a_manifest_is_had_without_the_files(machine: Callable[[str], Store]) -> None:
    made, _ = machine("a").build(SPEC, write)
    other = machine("b")
    assert other.peek(SPEC).manifest == made.manifest
    assert not list(other.artifacts())
    with pytest.raises(NotInStore, match="inputs changed"):
        other.peek(Spec("pairs", "toy", 2, {}))


def test_a_store_travels_to_other_processes(machine: Callable[[str], Store]) -> None:
    store = machine("a")
    store.build(SPEC, write)
    again = pickle.loads(pickle.dumps(store))
    assert again.location == store.location
    assert isinstance(again.remote, Remote) and again.remote.read(NAME) is not None


def test_a_store_that_cannot_say_no_keeps_one_artifact(
    machine: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without conditional puts the last manifest counts; each names files that are there."""
    store = machine("a")
    assert store.remote is not None
    put = store.remote.fs.pipe_file

    def refuse_condition(path: str, content: bytes, mode: str = "overwrite") -> None:
        if mode == "create":
            raise NotImplementedError
        put(path, content)

    made, _ = store.build(SPEC, write)
    with monkeypatch.context() as patch:
        patch.setattr(store.remote.fs, "pipe_file", refuse_condition)
        store.remote.push(NAME, made.folder, made.manifest)
    assert machine("b").build(SPEC, refuse)[0].manifest == made.manifest
