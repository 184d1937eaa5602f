"""What changed between two MEDI folders, and that unchanged datasets are not even opened."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.diff import Difference, RowChanges, diff, open_published
from artifacts.errors import InputError
from artifacts.row import MINED
from artifacts.shards import ShardOptions, medi_table, write_shards
from artifacts.store import file_entry

SAID = ("Represent the question: ", "Represent the answer: ")


def row(row_id: int, **other: Any) -> dict[str, Any]:
    made = {"row_id": row_id, "query": f"q{row_id}", "pos": f"p{row_id}", "neg": [f"n{row_id}"]}
    scores = {"pos_score": 0.75, "neg_score": [0.5], "negatives": "mined"}
    return made | scores | other


class Folder:
    """A published folder that is put together by hand."""

    def __init__(self, path: Path, **build: Any) -> None:
        self.path, self.build = path, {"key": path.name, **build}
        self.datasets: dict[str, Any] = {}
        self.lines: list[Mapping[str, str]] = []

    def add(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]],
        said: tuple[str, str] = SAID,
        licence: str = "MIT",
        key: str = "k1",
        in_batch: bool = True,
    ) -> Folder:
        folder = self.path / "data" / name
        write_shards(
            medi_table(pa.Table.from_pylist(list(rows), MINED), name, *said), folder, ShardOptions()
        )
        files = {
            f"data/{name}/{path.name}": file_entry(path).model_dump() for path in folder.iterdir()
        }
        self.datasets[name] = {
            "rows": len(rows), "in_batch_negatives": in_batch, "keys": {"pairs": "p", "mine": key},
            "environment": {"torch": "2.13.0"}, "files": files,
        }  # fmt: skip
        told = ("dataset", "query_instruction", "doc_instruction", "licence", "commercial_use")
        self.lines.append(dict(zip(told, (name, *said, licence, "yes"), strict=True)))
        return self

    def written(self) -> Path:
        manifest = {"format": 1, "build": self.build, "datasets": self.datasets}
        (self.path / "manifest.json").write_text(json.dumps(manifest))
        with (self.path / "ledger.csv").open("w", newline="") as file:
            out = csv.DictWriter(file, self.lines[0])
            out.writeheader()
            out.writerows(self.lines)
        return self.path


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = Folder(tmp_path / "old", seed=0, mining={"margin": 0.95})
    for name in ("gone", "same", "mined"):
        folder.add(name, [row(i) for i in range(4)])
    return folder.written()


def compared(old: Path, new: Path) -> Difference:
    return diff(open_published(old), open_published(new))


def test_a_folder_against_itself(old: Path) -> None:
    found = compared(old, old)
    assert (found.added, found.removed, found.changed, found.build) == ({}, {}, [], {})
    assert found.unchanged == 3


def test_rows_by_their_id_and_content(old: Path, tmp_path: Path) -> None:
    rows = [row(0), row(1, neg=["other"]), row(2, pos_score=0.7), row(7), row(8)]
    new = Folder(tmp_path / "new", seed=0, mining={"margin": 0.9})
    new.add("same", [row(i) for i in range(4)]).add("mined", rows, key="k2").add("more", rows)
    found = compared(old, new.written())
    assert (found.added, found.removed, found.unchanged) == ({"more": 5}, {"gone": 4}, 1)
    assert found.build == {"key": ("old", "new"), "mining.margin": (0.95, 0.9)}
    (mined,) = found.changed
    assert (mined.dataset, mined.rows, mined.keys) == ("mined", (4, 5), ["mine"])
    assert mined.row_changes == RowChanges(added=2, removed=1, changed=1, rescored=1)


@pytest.mark.parametrize(
    ("after", "changes"),
    [
        ([row(1, query="b"), row(1, query="c")], RowChanges(0, 1, 0, 0)),
        ([row(1, query="c"), row(1, query="b"), row(1, query="a")], RowChanges(0, 0, 0, 0)),
        ([row(1, query="x"), row(1, query="b"), row(1, query="c", pos_score=0.1)],
         RowChanges(0, 0, 1, 1)),
        ([row(1, query=query) for query in "abcc"], RowChanges(1, 0, 0, 0)),
    ],
)  # fmt: skip
def test_rows_that_share_an_id_are_told_apart_by_their_texts(
    tmp_path: Path, after: Sequence[Mapping[str, Any]], changes: RowChanges
) -> None:
    before = [row(1, query=query) for query in "abc"]
    old = Folder(tmp_path / "old").add("toy", before).written()
    new = Folder(tmp_path / "new").add("toy", after, key="k2").written()
    (toy,) = compared(old, new).changed
    assert toy.row_changes == changes


def test_rows_that_are_no_negatives_of_each_other_any_more(old: Path, tmp_path: Path) -> None:
    """No key and no row tells it, and a training comes out otherwise."""
    new, rows = Folder(tmp_path / "new"), [row(i) for i in range(4)]
    new.add("gone", rows).add("same", rows).add("mined", rows, in_batch=False)
    (mined,) = compared(old, new.written()).changed
    assert (mined.dataset, mined.in_batch_negatives) == ("mined", (True, False))
    assert mined.row_changes == RowChanges(0, 0, 0, 0)


def test_another_wording_and_licence_change_no_row(old: Path, tmp_path: Path) -> None:
    new, rows = Folder(tmp_path / "new"), [row(i) for i in range(4)]
    new.add("gone", rows).add("same", rows).add("mined", rows, ("Find: ", SAID[1]), "CC-BY-4.0")
    (mined,) = compared(old, new.written()).changed
    assert mined.row_changes == RowChanges(0, 0, 0, 0)
    assert mined.instructions == {"query_instruction": (SAID[0], "Find: ")}
    assert mined.licence == {"licence": ("MIT", "CC-BY-4.0")}


def test_shards_of_unchanged_datasets_are_not_opened(old: Path, tmp_path: Path) -> None:
    for shard in old.rglob("*.parquet"):
        shard.write_bytes(b"")
    assert compared(old, old).unchanged == 3


def test_a_manifest_alone_tells_counts(old: Path, tmp_path: Path) -> None:
    new = Folder(tmp_path / "new").add("mined", [row(9)], key="k2").written()
    alone = tmp_path / "manifest.json"
    alone.write_bytes((new / "manifest.json").read_bytes())
    found = compared(old, alone)
    (mined,) = found.changed
    assert (mined.rows, mined.row_changes, found.ledgers) == ((4, 1), None, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no manifest.json there"),
        ("{", "is not the manifest of a MEDI folder"),
        ('{"stage": "pairs"}', "is not the manifest of a MEDI folder"),
    ],
)
def test_another_folder_is_refused_in_one_line(
    tmp_path: Path, content: str | None, said: str
) -> None:
    if content:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=said) as error:
        open_published(tmp_path)
    assert "build --publish" in str(error.value) and "\n" not in str(error.value)


def test_a_broken_shard_is_named(old: Path, tmp_path: Path) -> None:
    new = Folder(tmp_path / "new").add("mined", [row(9)]).written()
    (shard,) = new.rglob("*.parquet")
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(InputError, match=f"{shard}: cannot be read"):
        compared(old, new)
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard}: no such file"):
        compared(old, new)


def test_a_shard_of_another_program_is_named(old: Path, tmp_path: Path) -> None:
    new = Folder(tmp_path / "new").add("mined", [row(9)]).written()
    (shard,) = new.rglob("*.parquet")
    pq.write_table(pa.table({"query": ["q"]}), shard)
    with pytest.raises(InputError, match=f"{shard}: has no column row_id"):
        compared(old, new)


@pytest.mark.parametrize("content", [b"x,y\n1,2\n", b"\xff\xfe"])
def test_a_ledger_of_another_program_is_named(old: Path, content: bytes) -> None:
    (old / "ledger.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"ledger\.csv: is not the ledger"):
        open_published(old)
