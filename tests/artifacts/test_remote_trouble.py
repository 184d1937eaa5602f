"""Other servers, other versions, other commands on one cache: nothing is lost or mixed up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from s3fs.errors import translate_boto_error

from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.manifest import MANIFEST, write_manifest
from artifacts.remote_trouble import StoreError
from artifacts.store import Make, Store
from flows.upkeep import run_verify
from tests.artifacts.test_remote import NAME, SPEC, forget, refuse, write
from tests.object_storage import Server, s3

Machine = Callable[[str], Store]


def make(text: str, **counts: Any) -> Make:
    def made(folder: Path) -> Mapping[str, Any]:
        (folder / "a.txt").write_text(text)
        return counts

    return made


def text_of(store: Store) -> str:
    return store.get(SPEC).file("a.txt").read_text()


@pytest.mark.parametrize("code", ["PreconditionFailed", "412", "ConditionalRequestConflict"])
def test_a_server_that_only_says_no(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    """Some name no condition in their answer, or say that another is putting it just now."""
    made, _ = machine("a").build(SPEC, write)
    remote = machine("b").remote
    assert remote is not None
    there, put = remote.read(NAME), remote.fs.pipe_file

    def no(path: str, content: bytes, mode: str = "overwrite") -> None:
        if mode == "create" and remote.fs.exists(path):
            raise translate_boto_error(ClientError({"Error": {"Code": code}}, "PutObject"))
        put(path, content, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(remote.fs, "pipe_file", no)
        assert machine("b").build(Spec("pairs", "toy", 2, {}), write)[1] is True
        assert remote.push(NAME, made.folder, made.manifest) == there


def remade_elsewhere(machine: Machine, before: Make, after: Make) -> Store:
    """A machine whose cache has what the store had before another made it again."""
    store = machine("a")
    store.build(SPEC, before)
    forget(store)
    machine("b").build(SPEC, after)
    return machine("a")


def test_verify_drops_what_is_not_the_same_as_in_the_store(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    store = remade_elsewhere(machine, make("of a CPU"), make("of a GPU"))
    assert text_of(store) == "of a CPU"
    assert run_verify(store.location) == 1
    line = f"{store.folder(SPEC)}: is not what {store.location} has"
    assert line in capsys.readouterr().out.splitlines()
    assert text_of(machine("a")) == text_of(machine("b")) == "of a GPU"
    machine("a")
    assert run_verify(store.location) == 0


def test_a_copy_that_a_flow_may_be_reading_stays(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    store = remade_elsewhere(machine, make("of a CPU"), make("of a GPU"))
    with store.in_use() as need:
        need([SPEC.key])
        assert run_verify(store.location) == 1
        assert text_of(store) == "of a CPU"
    assert "is not what" in capsys.readouterr().out


def test_looking_at_the_cache_beside_a_listing_costs_no_request(
    machine: Machine, s3_server: Server
) -> None:
    machine("a").build(SPEC, write)
    store = machine("a")
    assert store.problem(SPEC) is None
    before = s3_server.requests()
    assert store.build(SPEC, refuse)[0].file("a.txt").read_bytes() == b"alpha"
    assert s3_server.requests() == before


def test_what_the_cache_alone_had_gives_way_to_another_upload(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = machine("a")
    store.build(SPEC, make("cpu"))
    forget(store)
    assert store.remote is not None
    push = store.remote.push

    def push_late(*arguments: Any) -> Any:
        machine("b").build(SPEC, make("gpu"))
        return push(*arguments)

    monkeypatch.setattr(store.remote, "push", push_late)
    found, made = store.build(SPEC, refuse)
    assert not made and found.file("a.txt").read_text() == "gpu"


def test_a_download_leaves_the_copy_of_a_build(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands on one cache: what one has just put there is in use."""
    machine("a").build(SPEC, write)
    store = machine("b")
    assert store.remote is not None
    pull = store.remote.pull

    def pull_late(*arguments: Any) -> None:
        pull(*arguments)
        Store(store.root).build(SPEC, write)
        (store.folder(SPEC) / "used").touch()

    monkeypatch.setattr(store.remote, "pull", pull_late)
    assert (store.get(SPEC).folder / "used").exists()
    assert not list((store.root / ".tmp").iterdir())


def test_a_build_leaves_the_copy_of_a_download(machine: Machine, tmp_path: Path) -> None:
    store = machine("a")
    Store(tmp_path / "other").build(SPEC, write)

    def write_late(folder: Path) -> Mapping[str, Any]:
        shutil.copytree(Store(tmp_path / "other").folder(SPEC), store.folder(SPEC))
        (store.folder(SPEC) / "used").touch()
        return write(folder)

    found, _ = store.build(SPEC, write_late)
    assert (found.folder / "used").exists()


@pytest.mark.parametrize("content", [b'{"layout":2}\n', b"", b"[]"])
def test_a_store_of_another_layout_is_refused(
    machine: Machine, location: str, content: bytes
) -> None:
    machine("a").build(SPEC, write)
    s3().pipe_file(f"{location.removeprefix('s3://')}/medi-store.json", content)
    with pytest.raises(InputError, match=r"^store s3://.*: medi-store.json tells of a layout"):
        machine("b")


def test_a_manifest_of_a_newer_version_is_not_taken_for_damage(
    machine: Machine, location: str, tmp_path: Path
) -> None:
    made, _ = machine("a").build(SPEC, write)

    class Newer(type(made.manifest)):  # type: ignore[misc]
        licences: tuple[str, ...] = ()

    write_manifest(Newer(**made.manifest.model_dump()), tmp_path)
    path = f"{location.removeprefix('s3://')}/manifests/{NAME}.json"
    record = json.loads(s3().cat_file(path))
    record["manifest"] = json.loads((tmp_path / MANIFEST).read_bytes())
    s3().pipe_file(path, json.dumps(record).encode())

    refused = rf"^store {location}: {NAME}: manifest.json is that of another version of medi"
    for act in (lambda: machine("b").build(SPEC, refuse), lambda: run_verify(location)):
        with pytest.raises(StoreError, match=refused):
            act()
    assert json.loads(s3().cat_file(path)) == record
    assert (made.folder / "a.txt").read_bytes() == b"alpha"
