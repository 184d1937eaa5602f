"""`medi verify` and `medi gc`: nothing goes that somebody needs, or that nobody can judge."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.models import resolve_model
from artifacts.store import Artifact, Store, lock_name
from flows.garbage import find_garbage
from flows.planning_training import plan_train
from flows.show_diff import run_diff
from flows.upkeep import run_gc, run_verify
from flows.wanted import Wanted
from tests.artifacts.test_diff import Folder, row

NOBODY = Wanted(frozenset(), frozenset(), {})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "encoder", "weights")


def write_model(folder: Path, weights: str) -> Path:
    folder.mkdir(parents=True)
    (folder / "modules.json").write_text("[]")
    (folder / "model.safetensors").write_text(weights)
    return folder


def made(store: Store, spec: Spec, counts: Mapping[str, Any] | None = None) -> Artifact:
    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "a.txt").write_text(spec.stage)
        if spec.stage == "train":
            write_model(folder / "model", spec.key)
        return counts or {}

    return store.build(spec, make)[0]


def spec(stage: str, dataset: str = "toy", **inputs: str) -> Spec:
    return Spec(stage, dataset, 1, {}, inputs)


def going(store: Store, wanted: Wanted = NOBODY, days: float = -1) -> set[str]:
    found = find_garbage(store, wanted, days)
    return {item.path.relative_to(store.root).parts[0] for item in found.goes}


def test_what_a_kept_artifact_is_made_from_stays(store: Store) -> None:
    embeddings = spec("embeddings")
    fetch, other = spec("fetch"), Spec("fetch", "toy", 2, {})
    pairs = spec("pairs", fetch=fetch.key)
    for each in (embeddings, fetch, other):
        made(store, each)
    made(store, pairs, {"embeddings": [embeddings.key]})
    found = find_garbage(store, Wanted(frozenset({pairs.key}), frozenset(), {}), -1)
    assert [item.path.name for item in found.goes] == [other.key]
    assert going(store) == {"fetch", "pairs", "embeddings"}


def test_what_is_young_stays(store: Store) -> None:
    made(store, spec("pairs"))
    assert going(store, days=1) == set()
    assert going(store, days=-1) == {"pairs"}


def test_what_a_running_flow_builds_and_reads_stays(store: Store) -> None:
    """Nobody named it: its lock tells."""
    fetch, text = spec("fetch"), spec("texts")
    made(store, fetch)
    made(store, text)
    seen = []

    def look(folder: Path) -> Mapping[str, Any]:
        seen.append(going(store))
        return {}

    store.build(spec("pairs", fetch=fetch.key), look)
    assert seen == [{"texts"}]


def test_scratch_of_the_dead_goes_and_of_the_living_stays(store: Store) -> None:
    dead = store.root / ".tmp" / f"{lock_name(store.folder(spec('pairs')))}.0123"
    dead.mkdir(parents=True)
    seen = []

    def look(folder: Path) -> Mapping[str, Any]:
        seen.append([item.path for item in find_garbage(store, NOBODY, -1).goes])
        return {}

    store.build(spec("mine"), look)
    assert seen == [[dead]]


def test_results_and_vectors_go_by_their_model(store: Store) -> None:
    made(store, Spec("evaluate", "STS", 1, {}, {"model": "ours"}))
    mine = made(store, Spec("evaluate", "STS", 1, {}, {"model": "another"}))
    made(store, Spec("vectors", "space", 1, {"space": {"model": "ours"}}))
    theirs = made(store, Spec("vectors", "space", 1, {"space": {"model": "another"}}))
    wanted = Wanted(frozenset(), frozenset({"ours"}), {})
    found = find_garbage(store, wanted, -1)
    assert {item.path for item in found.goes} == {mine.folder, theirs.folder}


def test_a_named_model_stays_with_its_plan(store: Store) -> None:
    tokens = spec("tokens", "toy")
    plan = Spec("plan", "model", 1, {}, {"toy": tokens.key})
    train = Spec("train", "model", 1, {}, {"plan": plan.key})
    for each in (tokens, plan, train):
        made(store, each)
    key = resolve_model(str(store.folder(train) / "model"), None).key
    assert going(store, Wanted(frozenset(), frozenset({key}), {})) == set()
    assert going(store) == {"tokens", "plan", "train"}


def test_what_cannot_be_judged_stays_and_is_told(
    store: Store, capsys: pytest.CaptureFixture[str], encoder: Path
) -> None:
    for each in (spec("tokens"), spec("evaluate"), spec("future")):
        made(store, each)
    collected(store, encoder, delete=True)
    said = capsys.readouterr().out
    assert all(store.problem(spec(s)) is None for s in ("tokens", "evaluate", "future"))
    assert "kept, not judged: 1 of tokens" in said and "--medi DIR" in said
    assert "kept, not judged: 1 of evaluate" in said and "--model DIR" in said
    assert re.search("kept, not judged: 1 of future, .*: no stage that this version knows", said)
    assert said.endswith("0 folders, 0 B: deleted\n")


def collected(
    store: Store, encoder: Path, medi: tuple[Path, ...] = (), delete: bool = False
) -> None:
    """gc for real-small, with the encoder given: it plans without a network."""
    fields = dict.fromkeys(("encoder", "superni_encoder", "train.encoder"), str(encoder))
    names = [str(folder) for folder in medi]
    fields |= {"train.device": "cpu"}
    run_gc(["real-small"], names, [], -1, None, str(store.root), fields, delete)


def test_nothing_goes_before_it_is_asked_for(
    store: Store, capsys: pytest.CaptureFixture[str], encoder: Path
) -> None:
    made(store, spec("pairs"))
    collected(store, encoder)
    line, total = capsys.readouterr().out.splitlines()
    assert line.split(maxsplit=2)[2] == f"pairs/toy/{spec('pairs').key}: no named profile needs it"
    assert total.startswith("1 folders, ") and "--delete" in total
    assert store.problem(spec("pairs")) is None
    collected(store, encoder, delete=True)
    assert store.problem(spec("pairs")) == "never built"


def test_a_named_folder_and_trainings_on_it_stay(
    store: Store, tmp_path: Path, encoder: Path
) -> None:
    medi = tmp_path / "medi"
    (medi / "data" / "toy").mkdir(parents=True)
    (medi / "data" / "toy" / "train-00000-of-00001.parquet").write_text("rows")
    published, shards = spec("publish"), spec("shards")
    datasets = {"toy": {"keys": {"shards": shards.key}}}
    manifest = {"format": 1, "datasets": datasets, "build": {"key": published.key}}
    (medi / "manifest.json").write_text(json.dumps(manifest))
    where = (str(medi), None, "real-small", str(encoder), None, str(store.root))
    planned = plan_train(*where, {"device": "cpu"})
    needed = [*planned.tokens.values(), planned.plan, planned.model, published, shards]
    other = Spec("train", "model", 1, {})
    for each in (*needed, other):
        made(store, each)
    (store.root / ".runs" / other.key).mkdir(parents=True)
    collected(store, encoder, (medi,), delete=True)
    assert [store.problem(each) for each in needed] == [None] * 5
    assert not store.folder(other).exists() and not (store.root / ".runs" / other.key).exists()


def test_diff_for_people_and_for_machines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ("Represent [this]: ", "Represent the answer: ")
    old = Folder(tmp_path / "old", seed=0).add("toy", [row(1)]).add("gone", [row(1)]).written()
    new = Folder(tmp_path / "new", seed=1)
    new.add("toy", [row(1), row(2)], said, key="k2", in_batch=False).written()
    assert run_diff(str(old), str(new.path), False) == 0
    told = capsys.readouterr().out
    assert "removed: gone (1 rows)" in told and "build seed: 0 -> 1" in told
    assert "query instruction" in told and said[0].strip() in told
    assert told.endswith("0 datasets added, 1 removed, 1 changed, 0 as they were\n")
    assert re.search("in-batch negatives .*True .*False", told)
    assert run_diff(str(old), str(new.path), True) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["removed"] == {"gone": 1} and found["build"]["seed"] == [0, 1]
    (toy,) = found["changed"]
    assert toy["row_changes"] == {"added": 1, "removed": 0, "changed": 0, "rescored": 0}
    assert (toy["rows"], toy["keys"]) == ([1, 2], ["mine"])
    assert toy["in_batch_negatives"] == [True, False]


def test_a_store_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        run_verify(str(tmp_path / "none"))


def test_verify_tells_broken_from_left_over(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = made(store, spec("pairs"))
    train = Spec("train", "model", 1, {})
    made(store, train)
    (store.root / "mine" / "toy" / "k").mkdir(parents=True)
    (store.root / "notes.txt").write_text("mine")
    for name in (train.key, "failed", "going-on"):
        (store.root / ".runs" / name).mkdir(parents=True)
    checkpoint = store.root / ".runs" / "going-on" / "checkpoints" / "step-00000002"
    checkpoint.mkdir(parents=True)
    (checkpoint / "manifest.json").write_text("{}")
    for name, age in (("old.0", 1e6), ("new.0", 0)):
        path = store.root / ".tmp" / name
        path.mkdir(parents=True)
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert run_verify(str(store.root)) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    told = {line.partition(": ")[0].removeprefix(f"{store.root}/") for line in lines}
    assert told == {"mine/toy/k", "notes.txt", f".runs/{train.key}", ".runs/failed", ".tmp/old.0"}
    assert total.startswith("0 broken artifacts, 5 left over; 0 locks held")
    assert "2 free lock files" in total
    whole.file("a.txt").write_text("other")
    assert run_verify(str(store.root)) == 1
    assert f"{whole.folder}: a.txt has" in capsys.readouterr().out
