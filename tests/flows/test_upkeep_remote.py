"""`medi verify` and `medi gc` on object storage: the bucket counts, the cache is only a cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from artifacts.keys import Spec
from artifacts.store import MANIFEST, Artifact, Store
from flows.upkeep import run_gc, run_verify
from flows.upkeep_remote import delete_remote, find_remote_garbage
from flows.wanted import Wanted
from tests.flows.test_upkeep import write_model
from tests.object_storage import s3

NOBODY = Wanted(frozenset(), frozenset(), {})


@pytest.fixture
def store(location: str) -> Store:
    return Store.open(location)


def made(store: Store, spec: Spec) -> Artifact:
    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "a.txt").write_text(spec.stage)
        return {}

    return store.build(spec, make)[0]


def spec(stage: str, dataset: str = "toy", **inputs: str) -> Spec:
    return Spec(stage, dataset, 1, {}, inputs)


def half_uploaded(store: Store) -> str:
    """What a killed upload leaves; its path below the location."""
    path = f"files/mine/toy/{'0' * 24}/{'a' * 32}/mined.parquet"
    s3().pipe_file(f"{root(store)}/{path}", b"half")
    return path


def root(store: Store) -> str:
    return store.location.removeprefix("s3://")


def path_of(store: Store, stage: str) -> str:
    (path,) = s3().find(f"{root(store)}/files/{stage}")
    return str(path)


def a_day_later(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 90_000)


@pytest.mark.parametrize("content", [b"minus", b"min"])
def test_verify_hashes_what_lies_in_the_bucket(
    store: Store, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    made(store, spec("pairs"))
    broken = made(store, spec("mine"))
    assert run_verify(store.location) == 0
    assert capsys.readouterr().out.startswith("0 broken artifacts, 0 left over in s3://")
    s3().pipe_file(path_of(store, "mine"), content)
    assert run_verify(store.location) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith(f"{store.location}/mine/toy/{spec('mine').key}: a.txt has ")
    shutil.rmtree(broken.folder)  # the cache still had it
    again = Store.open(store.location)
    assert again.problem(spec("mine")) == "never built" and again.problem(spec("pairs")) is None


def test_verify_tells_a_broken_cache_from_the_bucket(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = made(store, spec("pairs"))
    artifact.file("a.txt").write_text("other")
    assert run_verify(store.location) == 1
    said = capsys.readouterr().out
    assert f"0 broken artifacts, 0 left over in {store.location}" in said
    assert f"{artifact.folder}: a.txt has changed" in said
    assert f"1 broken artifacts, 0 left over in the cache {store.root}" in said


def test_verify_lists_what_no_manifest_names(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made(store, spec("pairs"))
    left = half_uploaded(store).removeprefix("files/").removesuffix("/mined.parquet")
    s3().pipe_file(f"{root(store)}/files/notes.txt", b"mine")
    assert run_verify(store.location) == 0
    young = capsys.readouterr().out
    assert f"{store.location}/{left}: no manifest names it, it may be an upload" in young
    assert f"{store.location}/files/notes.txt: no part of a store" in young
    assert "0 broken artifacts, 2 left over in s3://" in young
    a_day_later(monkeypatch)
    run_verify(store.location)
    assert f"{left}: half uploaded by a run that was killed" in capsys.readouterr().out


def test_verify_lists_a_file_that_the_manifest_of_its_artifact_has_not(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made(store, spec("pairs"))
    path = path_of(store, "pairs").replace("a.txt", "data/b.txt")
    s3().pipe_file(path, b"extra")
    assert run_verify(store.location) == 0
    said = capsys.readouterr().out
    assert f"s3://{path}: no part of its artifact" in said.splitlines()
    assert "0 broken artifacts, 1 left over in s3://" in said


def test_gc_spares_uploads_that_may_go_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made(store, spec("pairs"))
    path = half_uploaded(store)
    assert store.remote is not None
    wanted = Wanted(frozenset({spec("pairs").key}), frozenset(), {})
    assert find_remote_garbage(store.remote, wanted, {}, -1).goes == []
    a_day_later(monkeypatch)
    (item,) = find_remote_garbage(store.remote, wanted, {}, 1).goes
    assert item.why == "no manifest names it" and item.upload.size == len(b"half")
    assert delete_remote(store.remote, item)
    assert not s3().exists(f"{root(store)}/{path}")
    assert store.problem(spec("pairs")) is None


def test_gc_keeps_what_a_kept_or_a_running_one_is_made_from(store: Store) -> None:
    fetch, other, read = spec("fetch"), Spec("fetch", "toy", 2, {}), spec("texts")
    pairs = spec("pairs", fetch=fetch.key)
    for each in (fetch, other, read, pairs):
        made(store, each)
    assert store.remote is not None
    wanted = Wanted(frozenset({pairs.key}), frozenset(), {})
    held = {"decontaminate-leaks-0": {"texts": read.key}}
    goes = find_remote_garbage(store.remote, wanted, held, -1).goes
    assert [item.name for item in goes] == [f"fetch/toy/{other.key}"]


def test_gc_spares_what_was_made_again_meanwhile(store: Store) -> None:
    artifact = made(store, spec("pairs"))
    assert store.remote is not None
    (item,) = find_remote_garbage(store.remote, NOBODY, {}, -1).goes
    assert store.remote.discard(item.upload.name, item.upload.attempt)
    store.remote.push(item.upload.name, artifact.folder, artifact.manifest)
    assert not delete_remote(store.remote, item)
    shutil.rmtree(artifact.folder)
    assert Store.open(store.location).get(spec("pairs")).file("a.txt").read_text() == "pairs"


def test_gc_of_a_profile(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Nothing goes before it is asked for; then it is gone in the bucket and in the cache."""
    made(store, spec("pairs"))
    made(store, spec("evaluate"))
    encoder = str(write_model(tmp_path / "encoder", "weights"))
    fields = dict.fromkeys(("encoder", "superni_encoder"), encoder)

    def collect(delete: bool) -> str:
        run_gc(["real-small"], [], [], -1, None, store.location, fields, delete)
        return capsys.readouterr().out

    told = collect(delete=False)
    assert f"pairs/toy/{spec('pairs').key}: no named profile needs it" in told
    assert f"1 uploads in {store.location}, 5 B: would go, --delete deletes them" in told
    assert "kept, not judged: 1 of evaluate, 8 B: name the models" in told
    assert Store.open(store.location).problem(spec("pairs")) is None
    assert f"1 uploads in {store.location}, 5 B: deleted" in collect(delete=True)
    again = Store.open(store.location)
    assert again.problem(spec("pairs")) == "never built"
    assert again.problem(spec("evaluate")) is None
    assert not (store.folder(spec("pairs")) / MANIFEST).exists()
    assert [p for p in s3().find(root(store)) if "/pairs/" in p] == []
