"""The dataset folder: card, manifest, ledgers and statistics, beside the Parquet shards.

DIR/README.md          card; `datasets.load_dataset(DIR)` reads its configs
DIR/manifest.json      the build: keys, environment, sha256 of each shard; whether texts of other
                       rows are negatives (in_batch_negatives)
DIR/ledger.csv         a line per dataset: rows, drops, licence, origin
DIR/leaks.csv          a line per evaluation text found: dataset, row, side, task
DIR/statistics.json    counts of every stage of every dataset
DIR/task_ids.json      number of each of the 330 datasets, as the released files have numbers
DIR/data/<dataset>/train-00000-of-0000N.parquet
"""

from __future__ import annotations

import csv
import errno
import glob
import json
import shutil
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from artifacts.card import write_card
from artifacts.errors import DatasetError, InputError
from artifacts.keys import sha256_file
from artifacts.publication import COMMERCIAL, FOLDER, Entry, Line, Publication
from artifacts.store import MANIFEST, Artifact, file_entry

VERSION = 3
FORMAT = 1

_IN_A_FOLDER = {
    "README.md", MANIFEST, "ledger.csv", "leaks.csv", "statistics.json", "task_ids.json", "data",
}  # fmt: skip
_WRITTEN_BY_NOW = 86_400  # seconds: no run copies a folder for a day


def write_folder(
    scratch: Path, publication: Publication, leaks: pa.Table, changed: Collection[str]
) -> dict[str, Any]:
    """All of the dataset folder but the shards that are published as their artifacts hold them.

    The shards of the datasets `changed` are in `scratch/folder/data` already, without what leaked
    (`leaks`: artifacts.row.LEAKS); one that has none there is published without rows, and without
    a config: an empty Parquet file would keep load_dataset from reading the others. Returns the
    counts of the publish artifact.
    """
    folder = scratch / FOLDER
    folder.mkdir(exist_ok=True)
    lines = [_line(folder, entry, entry.name in changed) for entry in publication.entries]
    write_card(folder / "README.md", publication, lines)
    _write_json(folder / MANIFEST, _manifest(lines, publication.build))
    _write_json(folder / "statistics.json", _statistics(lines))
    ids = json.dumps(dict(publication.task_ids), indent=1)
    (folder / "task_ids.json").write_text(ids + "\n", encoding="utf-8")
    _write_ledger(folder / "ledger.csv", lines)
    pa.csv.write_csv(leaks, folder / "leaks.csv")
    return {
        "datasets": len(lines),
        "rows": sum(line.rows for line in lines),
        "leaks": sum(line.leaks for line in lines),
    }


def _line(folder: Path, entry: Entry, changed: bool) -> Line:
    made = int(entry.stages["shards"].manifest.counts["rows"])
    shards = list(entry.shards.values())
    files = {f"data/{entry.name}/{n}": f for n, f in entry.stages["shards"].manifest.files.items()}
    if changed:
        shards = sorted((folder / "data" / entry.name).glob("*.parquet"))
        files = {path.relative_to(folder).as_posix(): file_entry(path) for path in shards}
    marks = [
        mark
        for path in shards
        for mark in pq.read_table(path, columns=["negatives"])["negatives"].to_pylist()
    ]
    return Line(entry, len(marks), marks.count("native"), made - len(marks), files)


def require_deliverable(target: Path) -> None:
    """Raise InputError where publishing to `target` would overwrite something that is not MEDI."""
    if target.exists() and not target.is_dir():
        raise InputError(f"--publish {target}: is a file, give a folder")
    inside = {path.name for path in target.iterdir()} if target.exists() else set()
    if inside and "build" not in _manifest_in(target):
        raise InputError(f"--publish {target}: is not empty and not a MEDI folder, give another")
    if foreign := sorted(inside - _IN_A_FOLDER):
        raise InputError(
            f"--publish {target}: holds {foreign[0]}, which publishing would delete: move it "
            "away, or give another folder"
        )


def require_medi(medi: Path) -> None:
    """Raise InputError for a folder that is no published build."""
    if not (medi / MANIFEST).is_file():
        raise InputError(f"--medi {medi}: no {MANIFEST} there; give what build --publish made")
    if not _manifest_in(medi):
        raise InputError(f"--medi {medi}: {MANIFEST} is not that of a MEDI folder")


def _manifest_in(folder: Path) -> dict[str, Any]:
    """Empty where it is none of a MEDI folder: many a program writes a manifest.json."""
    try:
        found = json.loads((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return {}
    return found if isinstance(found, dict) and "datasets" in found else {}


def deliver_build(published: Artifact, entries: Sequence[Entry], target: Path) -> bool:
    """Make `target` the dataset folder; False where it is just that already.

    Raises DatasetError where a file in the store is not what its manifest says.
    """
    if _is_delivered(published, target):
        return False
    with _swapped_in(target) as fresh:
        _copy_part(published, FOLDER, fresh)
        datasets = json.loads((fresh / MANIFEST).read_bytes())["datasets"]
        for entry in entries:
            shards = entry.stages["shards"]
            for name in datasets[entry.name]["files"]:
                if not (fresh / name).is_file():  # else it is published without what leaked
                    _copy(shards, name.removeprefix(f"data/{entry.name}/"), fresh / name)
    return True


def deliver_folder(made: Artifact, part: str, target: Path) -> None:
    """Make `target` a copy of the folder `part` of an artifact. Raises as deliver_build."""
    with _swapped_in(target) as fresh:
        _copy_part(made, part, fresh)


def _copy_part(made: Artifact, part: str, target: Path) -> None:
    """What its manifest names, and no file that somebody put beside them."""
    for name in made.manifest.files:
        if name.startswith(f"{part}/"):
            _copy(made, name, target / name.removeprefix(f"{part}/"))


def _copy(made: Artifact, name: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(made.file(name), target)
    if sha256_file(target) != made.manifest.files[name].sha256:
        raise DatasetError(
            f"{made.folder}: {name} has changed, so nothing is delivered: `medi verify` tells "
            "all that is broken, and then the next run makes it again"
        )


@contextmanager
def _swapped_in(target: Path) -> Iterator[Path]:
    """A path beside `target` to build at; it takes the target's place when it is whole.

    What a run that was killed left there is removed a day later.
    """
    target = target.resolve()  # through links, also to what is not there yet
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.parent / f".{target.name}.{uuid.uuid4().hex}"
    try:
        yield fresh
        _swap_in(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 32}*"):
        with suppress(FileNotFoundError):  # another run does the same
            if time.time() - left.stat().st_mtime > _WRITTEN_BY_NOW:
                shutil.rmtree(left, ignore_errors=True)


def _swap_in(fresh: Path, target: Path) -> None:
    """Of several runs at once the last one stays. Where it fails, `target` is as it was."""
    old = fresh.with_name(fresh.name + ".old")
    try:
        while not _moved(fresh, target):
            shutil.rmtree(old, ignore_errors=True)  # another has put his there meanwhile
            with suppress(FileNotFoundError):
                target.rename(old)
    finally:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        elif old.exists():
            old.rename(target)


def _moved(folder: Path, target: Path) -> bool:
    """False where `target` is in the way."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


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
            "in_batch_negatives": line.entry.in_batch_negatives,
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
            ["dataset", "rows", "cap", "count_source", "rows_read", "dropped", "licence",
             "commercial_use", "location", "revision", "files", "query_instruction",
             "doc_instruction", "citation"]
        )  # fmt: skip
        for line in lines:
            entry, record = line.entry, line.entry.record
            location, licence = record["location"], record["licence"]
            out.writerow(
                [entry.name, line.rows, record["rows"], record["count_source"],
                 entry.stages["pairs"].manifest.counts["rows_in"],
                 "; ".join(f"{reason} {n}" for reason, n in line.drops.items()),
                 licence["spdx"], COMMERCIAL[licence["commercial"]],
                 location.get("repository", ""), location.get("revision", ""),
                 "; ".join(location["files"]), *entry.instructions, record["citation"]]
            )  # fmt: skip
