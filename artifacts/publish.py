"""The dataset folder: card, manifest, ledgers and statistics, beside the Parquet shards.

DIR/README.md          card; `datasets.load_dataset(DIR)` reads its configs
DIR/manifest.json      the build: keys, environment, sha256 of each shard
DIR/ledger.csv         a line per dataset: rows, drops, licence, origin
DIR/leaks.csv          a line per evaluation text found: dataset, row, side, task
DIR/statistics.json    counts of every stage of every dataset
DIR/task_ids.json      number of each of the 330 datasets, as the released files have numbers
DIR/data/<dataset>/train-00000-of-0000N.parquet
"""

from __future__ import annotations

import csv
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from artifacts.card import write_card
from artifacts.errors import InputError
from artifacts.store import MANIFEST, Artifact, FileEntry, file_entry

VERSION = 2
FORMAT = 1
FOLDER = "folder"  # of the publish artifact: what is copied to DIR


@dataclass(frozen=True)
class Entry:
    """One dataset of the build, as its artifacts and its record tell it."""

    name: str
    record: Mapping[str, Any]  # the source record as JSON values
    instructions: tuple[str, str]
    stages: Mapping[str, Artifact]  # fetch, pairs, mine, shards

    @property
    def drops(self) -> dict[str, int]:
        """Rows left out, by reason, over all stages."""
        drops: dict[str, int] = {}
        for stage in self.stages.values():
            for reason, n in stage.manifest.counts.get("dropped", {}).items():
                drops[reason] = drops.get(reason, 0) + int(n)
        return dict(sorted(drops.items()))

    @property
    def shards(self) -> dict[str, Path]:
        """Path in the dataset folder -> shard file in the store."""
        return {f"data/{self.name}/{path.name}": path for path in self.stages["shards"].files}


@dataclass(frozen=True)
class Publication:
    """What is published: the datasets, what is said of the build, and what explains it."""

    entries: Sequence[Entry]
    build: Mapping[str, Any]
    task_ids: Mapping[str, int]
    reasons: Mapping[str, str]  # why rows are dropped -> what that means


@dataclass(frozen=True)
class Line:
    """A dataset as it is published: `leaks` rows fewer than its shards artifact has."""

    entry: Entry
    rows: int
    leaks: int
    files: Mapping[str, FileEntry]

    @property
    def drops(self) -> dict[str, int]:
        return self.entry.drops | ({"leak": self.leaks} if self.leaks else {})


def write_folder(scratch: Path, publication: Publication, leaks: pa.Table) -> dict[str, Any]:
    """All of the dataset folder but the shards that are published as their artifacts hold them.

    Shards that `scratch/folder/data` has already take their place: the datasets without what
    leaked (`leaks`: artifacts.row.LEAKS). Returns the counts of the publish artifact.
    """
    folder = scratch / FOLDER
    folder.mkdir(exist_ok=True)
    lines = [_line(folder, entry) for entry in publication.entries]
    write_card(folder / "README.md", publication, lines)
    _write_json(folder / MANIFEST, _manifest(lines, publication.build))
    _write_json(folder / "statistics.json", _statistics(lines))
    _write_json(folder / "task_ids.json", dict(publication.task_ids))
    _write_ledger(folder / "ledger.csv", lines)
    pa.csv.write_csv(leaks, folder / "leaks.csv")
    return {
        "datasets": len(lines),
        "rows": sum(line.rows for line in lines),
        "leaks": sum(line.leaks for line in lines),
    }


def _line(folder: Path, entry: Entry) -> Line:
    made = int(entry.stages["shards"].manifest.counts["rows"])
    rewritten = sorted((folder / "data" / entry.name).glob("*.parquet"))
    if not rewritten:
        files = entry.stages["shards"].manifest.files
        return Line(entry, made, 0, {f"data/{entry.name}/{n}": f for n, f in files.items()})
    rows = sum(pq.ParquetFile(path).metadata.num_rows for path in rewritten)
    found = {path.relative_to(folder).as_posix(): file_entry(path) for path in rewritten}
    return Line(entry, rows, made - rows, found)


def require_deliverable(target: Path) -> None:
    """Raise InputError where publishing to `target` would overwrite something that is not MEDI."""
    if target.exists() and not target.is_dir():
        raise InputError(f"--publish {target}: is a file, give a folder")
    if target.exists() and any(target.iterdir()) and not (target / MANIFEST).is_file():
        raise InputError(f"--publish {target}: is not empty and not a MEDI folder, give another")


def require_medi(medi: Path) -> None:
    """Raise InputError for a folder that is no published build."""
    manifest = medi / MANIFEST
    if not manifest.is_file():
        raise InputError(f"--medi {medi}: no {MANIFEST} there; give what build --publish made")
    if "datasets" not in json.loads(manifest.read_text(encoding="utf-8")):
        raise InputError(f"--medi {medi}: {MANIFEST} is not that of a MEDI folder")


def deliver_build(published: Artifact, entries: Sequence[Entry], target: Path) -> bool:
    """Make `target` the dataset folder; False where it is just that already."""
    if _is_delivered(published, target):
        return False
    with _swapped_in(target) as fresh:
        shutil.copytree(published.folder / FOLDER, fresh, copy_function=shutil.copyfile)
        for entry in entries:
            if (fresh / "data" / entry.name).is_dir():
                continue  # published without what leaked
            for name, shard in entry.shards.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(shard, fresh / name)
    return True


def deliver_folder(source: Path, target: Path) -> None:
    """Make `target` a copy of `source`."""
    with _swapped_in(target) as fresh:
        shutil.copytree(source, fresh, copy_function=shutil.copyfile)


@contextmanager
def _swapped_in(target: Path) -> Iterator[Path]:
    """A path beside `target` to build at; it takes the target's place when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    old = fresh.with_name(fresh.name + ".old")
    try:
        yield fresh
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _is_delivered(published: Artifact, target: Path) -> bool:
    """Same manifest, every file there with its size."""
    manifest = published.file(f"{FOLDER}/{MANIFEST}").read_bytes()
    try:
        if (target / MANIFEST).read_bytes() != manifest:
            return False
        datasets = json.loads(manifest)["datasets"].values()
        files = {name: file["size"] for d in datasets for name, file in d["files"].items()}
        return all((target / name).stat().st_size == size for name, size in files.items())
    except FileNotFoundError:
        return False


def _manifest(lines: Sequence[Line], build: Mapping[str, Any]) -> dict[str, Any]:
    datasets = {}
    for line in lines:
        stages = line.entry.stages
        datasets[line.entry.name] = {
            "rows": line.rows,
            "keys": {stage: artifact.manifest.key for stage, artifact in stages.items()},
            "environment": dict(stages["mine"].manifest.environment),
            "files": {name: file.model_dump() for name, file in line.files.items()},
        }
    return {"format": FORMAT, "build": dict(build), "datasets": datasets}


def _statistics(lines: Sequence[Line]) -> dict[str, Any]:
    """Per dataset the counts of each stage, and the rows published."""
    return {
        line.entry.name: {
            **{stage: dict(a.manifest.counts) for stage, a in line.entry.stages.items()},
            "published": {"rows": line.rows, "leaks": line.leaks},
        }
        for line in lines
    }


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _write_ledger(path: Path, lines: Sequence[Line]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(
            ["dataset", "rows", "rows_read", "dropped", "count_source", "licence", "commercial_use",
             "location", "revision", "query_instruction", "doc_instruction", "citation"]
        )  # fmt: skip
        for line in lines:
            entry, record = line.entry, line.entry.record
            location, licence = record["location"], record["licence"]
            commercial = {True: "yes", False: "no", None: "unknown"}[licence["commercial"]]
            out.writerow(
                [entry.name, line.rows, entry.stages["pairs"].manifest.counts["rows_in"],
                 "; ".join(f"{reason} {n}" for reason, n in line.drops.items()),
                 record["count_source"], licence["spdx"], commercial,
                 location.get("repository", location["files"][0]), location.get("revision", ""),
                 *entry.instructions, record["citation"]]
            )  # fmt: skip
