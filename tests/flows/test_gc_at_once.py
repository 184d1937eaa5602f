"""`medi gc` and `medi verify` while others work, and on what they must not touch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.store import Store
from flows import garbage
from flows.garbage import Item, delete, find_garbage
from flows.upkeep import run_verify
from tests.flows.test_upkeep import NOBODY, collected, going, made, spec
from tests.flows.test_upkeep import encoder as encoder
from tests.flows.test_upkeep import store as store

MODEL = Spec("train", "model", 1, {})


def test_what_the_later_stages_of_a_running_flow_read_stays(store: Store) -> None:
    """Its profile has no name, and what reads `fetch` waits for its turn."""
    fetch, other = spec("fetch"), spec("fetch", "other")
    pairs = spec("pairs", fetch=fetch.key)
    for each in (fetch, other, pairs):
        made(store, each)
    with store.in_use() as need:
        need({pairs.key, spec("mine", pairs=pairs.key).key})
        assert [item.path for item in find_garbage(store, NOBODY, -1).goes] == [store.folder(other)]
    assert going(store) == {"fetch", "pairs"}


def test_vectors_of_the_models_of_a_running_flow_stay(store: Store) -> None:
    for model in ("ours", "another"):
        made(store, Spec("embeddings", "toy", 1, {"model": model}))
        made(store, Spec("vectors", "space", 1, {"space": {"model": model}}))
        made(store, Spec("evaluate", "STS", 1, {}, {"model": model}))
    with store.in_use() as need:
        need({"ours"})
        found = {item.path.name for item in find_garbage(store, NOBODY, -1).goes}
    assert found == {
        Spec("embeddings", "toy", 1, {"model": "another"}).key,
        Spec("vectors", "space", 1, {"space": {"model": "another"}}).key,
        Spec("evaluate", "STS", 1, {}, {"model": "another"}).key,
    }


def test_what_a_waiting_training_goes_on_from_stays(store: Store) -> None:
    checkpoint = store.root / ".runs" / MODEL.key / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    with store.in_use() as need:
        need({MODEL.key})
        assert going(store) == set()
    assert going(store) == {".runs"}


def test_gc_deletes_nothing_while_a_flow_plans(store: Store, encoder: Path) -> None:
    """What the plan has found cached must be there when the flow has told that it needs it."""
    made(store, spec("pairs"))
    with store.in_use() as need:
        with pytest.raises(InputError, match="a flow has just begun"):
            collected(store, encoder, delete=True)
        collected(store, encoder)
        need({spec("pairs").key})
        collected(store, encoder, delete=True)
        assert store.problem(spec("pairs")) is None
    collected(store, encoder, delete=True)
    assert store.problem(spec("pairs")) == "never built"


def test_what_goes_meanwhile_does_not_stop_gc(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = made(store, spec("fetch")), made(store, spec("pairs"))
    judge = garbage.judge

    def removed_after(*arguments: Any) -> Any:
        found = judge(*arguments)
        shutil.rmtree(first.folder)
        return found

    monkeypatch.setattr(garbage, "judge", removed_after)
    found = find_garbage(store, NOBODY, -1).goes
    assert [item.path for item in found] == [second.folder]
    gone = Item(first.folder, "")
    assert gone.size == 0
    assert delete(store, gone) and delete(store, found[0])
    assert store.problem(spec("pairs")) == "never built"


def test_verify_tells_files_that_no_manifest_names(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    artifact = made(store, MODEL)
    (artifact.folder / "model" / "extra.safetensors").write_text("what is this")
    assert run_verify(str(store.root)) == 0
    told = f"{artifact.folder}/model/extra.safetensors: no part of an artifact\n"
    assert told in capsys.readouterr().out


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MEDI_STORE_CACHE", str(tmp_path / "cache"))
    return f"memory://{tmp_path.name}/medi"


def contents(store: Store) -> Mapping[str, Any]:
    assert store.remote is not None
    fs = store.remote.fs
    return {path: fs.cat_file(path) for path in fs.find(store.remote.root)}


def test_looking_at_work_folders_changes_no_bucket(bucket: str) -> None:
    """Their model is there, and damaged: a build finds that out, not gc or verify's last lines."""
    store = Store.open(bucket)
    artifact = made(store, MODEL)
    (store.root / ".runs" / MODEL.key / "checkpoints").mkdir(parents=True)
    shutil.rmtree(artifact.folder)
    assert store.remote is not None
    for path in store.remote.fs.find(f"{store.remote.root}/files"):
        store.remote.fs.pipe_file(path, b"?" * store.remote.fs.size(path))
    before = contents(store)
    store = Store.open(bucket)
    found = find_garbage(store, NOBODY, -1)
    assert [item.why for item in found.goes] == ["of a training that is done"]
    assert not artifact.folder.exists()
    assert contents(store) == before
