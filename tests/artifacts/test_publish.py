"""The dataset folder where decontamination took rows out: what it holds and what it says."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from artifacts.errors import DatasetError, InputError
from artifacts.keys import Spec
from artifacts.publication import FOLDER, Entry, Publication
from artifacts.publish import deliver_build, deliver_folder, require_deliverable, write_folder
from artifacts.row import LEAKS, MINED
from artifacts.shards import ShardOptions, medi_table, write_shards
from artifacts.store import Artifact, Store

RECORD = {
    "rows": 10,
    "count_source": "assumed",
    "symmetric": False,
    "licence": {"spdx": "MIT", "commercial": True},
    "location": {"repository": "a/b", "revision": "main", "files": ["c.jsonl"]},
    "citation": "",
}
BUILD: dict[str, Any] = {
    "key": "0" * 24,
    "origin": "upstream",
    "encoder": {"name": "miner"},
    "superni_encoder": {"name": "pairer"},
    "seed": 0,
    "max_rows": None,
    "licences": "any",
    "detail": "detailed",
    "superni_instructions": "written",
    "cleaning": {},
    "mining": {},
    "decontamination": {"tasks": ["T"], "ngram": 13, "action": "remove"},
    "failed": [],
}


def rows(name: str, count: int) -> pa.Table:
    mined = [
        {"row_id": i, "query": f"q{i}", "pos": f"p{i}", "neg": [f"n{i}"], "pos_score": 0.5,
         "neg_score": [0.1], "negatives": "native" if i else "mined"}
        for i in range(count)
    ]  # fmt: skip
    return medi_table(pa.Table.from_pylist(mined, schema=MINED), name, "Q: ", "D: ")


def entry(store: Store, name: str, count: int, kind: str | None = None, **record: Any) -> Entry:
    """`kind`: what the pairs stage took a Super-NI task for."""
    counts: dict[str, Mapping[str, Any]] = {
        "fetch": {},
        "pairs": {"rows_in": count + 1, "dropped": {"empty": 1}}
        | ({"superni_kind": kind} if kind else {}),
        "mine": {"tokens": {"query": {"mean": 3.0}, "pos": {"mean": 5.0}}},
        "shards": {"rows": count},
    }

    def make(stage: str, folder: Path) -> Mapping[str, Any]:
        if stage == "shards":
            write_shards(rows(name, count), folder, ShardOptions())
        return counts[stage]

    stages = {
        stage: store.build(Spec(stage, name, 1, {}), lambda folder, s=stage: make(s, folder))[0]
        for stage in counts
    }
    return Entry(name, RECORD | record, ("Q: ", "D: "), stages)


@pytest.fixture
def published(tmp_path: Path) -> tuple[Artifact, list[Entry]]:
    """`whole` as it is, `less` without its first row, `gone` without any."""
    store = Store(tmp_path / "store")
    entries = [entry(store, "whole", 3), entry(store, "less", 3), entry(store, "gone", 2)]
    publication = Publication(entries, BUILD, {"whole": 0}, {"leak": "It leaks.", "empty": "No."})

    def make(folder: Path) -> Mapping[str, Any]:
        left = rows("less", 3).slice(1)
        write_shards(left, folder / FOLDER / "data" / "less", ShardOptions())
        return write_folder(folder, publication, LEAKS.empty_table(), {"less", "gone"})

    return store.build(Spec("publish", "medi", 1, {}), make)[0], entries


def test_a_dataset_without_rows_does_not_break_the_others(
    published: tuple[Artifact, list[Entry]], tmp_path: Path
) -> None:
    deliver_build(*published, tmp_path / "medi")
    found = datasets.load_dataset(str(tmp_path / "medi"), cache_dir=str(tmp_path / "c"))["train"]
    assert sorted(zip(found["dataset"], found["row_id"], strict=True)) == [
        ("less", 1), ("less", 2), ("whole", 0), ("whole", 1), ("whole", 2),
    ]  # fmt: skip
    names = datasets.get_dataset_config_names(str(tmp_path / "medi"))
    assert sorted(names) == ["default", "less", "whole"]


def test_what_is_gone_is_counted(published: tuple[Artifact, list[Entry]], tmp_path: Path) -> None:
    artifact, entries = published
    assert artifact.manifest.counts == {"datasets": 3, "rows": 5, "leaks": 3}
    deliver_build(artifact, entries, tmp_path / "medi")
    manifest = json.loads((tmp_path / "medi" / "manifest.json").read_text())["datasets"]
    assert {name: dataset["rows"] for name, dataset in manifest.items()} == {
        "whole": 3, "less": 2, "gone": 0,
    }  # fmt: skip
    for name, dataset in manifest.items():
        for file, stated in dataset["files"].items():
            assert (tmp_path / "medi" / file).stat().st_size == stated["size"], name
    card = (tmp_path / "medi" / "README.md").read_text()
    assert "| leak | 3 | It leaks. |" in card
    assert "| rows with the source's own negatives | 4 |" in card
    assert "3 rows are left out for it" in card


def test_manifest_says_whose_rows_are_no_negatives_of_each_other(tmp_path: Path) -> None:
    """Training would drive texts of one label apart where it is not told."""
    store = Store(tmp_path / "store")
    entries = [
        entry(store, "plain", 1),
        entry(store, "own", 1, label_like=True),
        entry(store, "labels", 1, kind="classification"),
        entry(store, "stories", 1, kind="generation"),
        entry(store, "told", 1, kind="generation", label_like=True),
    ]
    publication = Publication(entries, BUILD, {}, {})
    write_folder(tmp_path, publication, LEAKS.empty_table(), ())
    manifest = json.loads((tmp_path / FOLDER / "manifest.json").read_text())["datasets"]
    assert {name: dataset["in_batch_negatives"] for name, dataset in manifest.items()} == {
        "plain": True, "own": False, "labels": False, "stories": True, "told": False,
    }  # fmt: skip


def test_a_folder_that_is_just_that_is_left_alone(
    published: tuple[Artifact, list[Entry]], tmp_path: Path
) -> None:
    assert deliver_build(*published, tmp_path / "medi")
    assert not deliver_build(*published, tmp_path / "medi")
    (tmp_path / "medi" / "data" / "less" / "train-00000-of-00001.parquet").unlink()
    assert deliver_build(*published, tmp_path / "medi")


def test_what_killed_runs_left_beside_it_is_removed_a_day_later(
    published: tuple[Artifact, list[Entry]], tmp_path: Path
) -> None:
    names = {name: tmp_path / f".medi.{name * 32}" for name in "abc"}
    names["b"] = names["b"].with_suffix(names["b"].suffix + ".old")
    for path in (*names.values(), tmp_path / ".medi.notes"):
        path.mkdir()
        os.utime(path, (0, 0))
    os.utime(names["c"])  # somebody may be writing to it
    assert deliver_build(*published, tmp_path / "medi")
    left = {path.name for path in tmp_path.glob(".medi.*")}
    assert left == {names["c"].name, ".medi.notes"}


def test_what_a_manifest_does_not_name_is_not_published(
    published: tuple[Artifact, list[Entry]], tmp_path: Path
) -> None:
    """load_dataset would read it."""
    stray = published[0].folder / FOLDER / "data" / "less" / "train-00009.parquet"
    stray.write_text("rows")
    deliver_build(*published, tmp_path / "medi")
    assert not list((tmp_path / "medi").rglob(stray.name))


@pytest.mark.parametrize("name", ["whole", "less", "README.md"])
def test_what_rotted_unseen_is_not_published(
    published: tuple[Artifact, list[Entry]], tmp_path: Path, name: str
) -> None:
    """Its size and its time of change are as they were."""
    artifact, entries = published
    whole = entries[0].stages["shards"]
    path = {
        "whole": whole.files[0],
        "less": artifact.folder / FOLDER / "data" / "less" / whole.files[0].name,
        "README.md": artifact.folder / FOLDER / "README.md",
    }[name]
    content, sealed = path.read_bytes(), path.stat()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    os.utime(path, ns=(sealed.st_atime_ns, sealed.st_mtime_ns))
    with pytest.raises(DatasetError, match=r"has changed.*medi verify") as error:
        deliver_build(artifact, entries, tmp_path / "medi")
    assert str((whole if name == "whole" else artifact).folder) in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


BESIDE_MEDI = {"manifest.json": json.dumps({"format": 1, "datasets": {}, "build": {}})}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"manifest.json": '{"manifest_version": 3}'}, "not a MEDI folder"),
        ({"manifest.json": '["datasets", "build"]'}, "not a MEDI folder"),
        ({"manifest.json": '{"format": 1, "datas'}, "not a MEDI folder"),
        ({"data": "no folder of ours"}, "not a MEDI folder"),
        (BESIDE_MEDI | {"thesis.tex": "all of it"}, "holds thesis.tex, which .* would delete"),
    ],
)
def test_a_folder_of_somebody_else_is_not_written_over(
    tmp_path: Path, files: Mapping[str, str], said: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=said):
        require_deliverable(tmp_path)


def test_a_folder_of_ours_is_written_over(
    published: tuple[Artifact, list[Entry]], tmp_path: Path
) -> None:
    require_deliverable(tmp_path / "medi")
    deliver_build(*published, tmp_path / "medi")
    require_deliverable(tmp_path / "medi")


@pytest.fixture
def model(tmp_path: Path) -> Artifact:
    def make(folder: Path) -> Mapping[str, Any]:
        (folder / "model").mkdir()
        (folder / "model" / "medi.json").write_text("new")
        return {}

    return Store(tmp_path / "store").build(Spec("train", "model", 1, {}), make)[0]


def delivered(model: Artifact, target: Path) -> None:
    deliver_folder(model, "model", target)
    assert [path.name for path in target.iterdir()] == ["medi.json"]
    assert (target / "medi.json").read_text() == "new"
    assert not list(target.resolve().parent.glob(".*"))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_what_was_there_is_put_back_when_the_new_cannot_take_its_place(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "medi.json").write_text("old")
    rename, away = Path.rename, []

    def failing(path: Path, to: Path) -> Path:
        if away and to == target and not path.name.endswith(".old"):
            raise error
        if path == target:
            away.append(to)
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(type(error)):
        deliver_folder(model, "model", target)
    assert away
    assert (target / "medi.json").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "out"}


def test_another_run_that_delivers_meanwhile_is_no_error(
    model: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two renames it puts its own there, twice."""
    target, rename, left = tmp_path / "out", Path.rename, [1, 2]

    def overtaken(path: Path, to: Path) -> Path:
        if to == target and left:
            target.mkdir(exist_ok=True)
            (target / f"theirs{left.pop()}").write_text("other")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", overtaken)
    delivered(model, target)


def test_out_may_be_below_a_link_to_what_is_not_there_yet(model: Artifact, tmp_path: Path) -> None:
    """`out` of the container leads into a volume that is empty at first."""
    (tmp_path / "out").symlink_to(tmp_path / "volume" / "out")
    delivered(model, tmp_path / "out" / "model")
    assert (tmp_path / "out").is_symlink()


def test_out_may_be_a_link(model: Artifact, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to(tmp_path / "volume")
    for _ in range(2):
        delivered(model, tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
