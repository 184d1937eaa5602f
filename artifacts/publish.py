"""The dataset folder: card, manifest, ledger and statistics, beside the Parquet shards.

DIR/README.md          card; `datasets.load_dataset(DIR)` reads its configs
DIR/manifest.json      the build: keys, environment, sha256 of each shard
DIR/ledger.csv         a line per dataset: rows, drops, licence, origin
DIR/statistics.json    counts of every stage of every dataset
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

from artifacts.errors import InputError
from artifacts.store import MANIFEST, Artifact

VERSION = 1
FORMAT = 1
_FOLDER = "folder"  # of the publish artifact: what is copied to DIR


@dataclass(frozen=True)
class Entry:
    """One dataset of the build, as its artifacts and its record tell it."""

    name: str
    record: Mapping[str, Any]  # the source record as JSON values
    instructions: tuple[str, str]
    stages: Mapping[str, Artifact]  # fetch, pairs, mine, shards

    @property
    def rows(self) -> int:
        return int(self.stages["shards"].manifest.counts["rows"])

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


def write_folder(
    scratch: Path, entries: Sequence[Entry], build: Mapping[str, Any]
) -> dict[str, Any]:
    """All of the dataset folder but the shards; returns the counts of the publish artifact."""
    folder = scratch / _FOLDER
    folder.mkdir()
    (folder / "README.md").write_text(_card(entries), encoding="utf-8")
    _write_json(folder / MANIFEST, _manifest(entries, build))
    _write_json(
        folder / "statistics.json",
        {e.name: {s: dict(a.manifest.counts) for s, a in e.stages.items()} for e in entries},
    )
    _write_ledger(folder / "ledger.csv", entries)
    return {"datasets": len(entries), "rows": sum(e.rows for e in entries)}


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
        shutil.copytree(published.folder / _FOLDER, fresh, copy_function=shutil.copyfile)
        for entry in entries:
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
    manifest = published.file(f"{_FOLDER}/{MANIFEST}").read_bytes()
    try:
        if (target / MANIFEST).read_bytes() != manifest:
            return False
        datasets = json.loads(manifest)["datasets"].values()
        files = {name: file["size"] for d in datasets for name, file in d["files"].items()}
        return all((target / name).stat().st_size == size for name, size in files.items())
    except FileNotFoundError:
        return False


def _manifest(entries: Sequence[Entry], build: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "build": dict(build),
        "datasets": {
            e.name: {
                "rows": e.rows,
                "keys": {stage: a.manifest.key for stage, a in e.stages.items()},
                "environment": dict(e.stages["mine"].manifest.environment),
                "files": {
                    f"data/{e.name}/{name}": file.model_dump()
                    for name, file in e.stages["shards"].manifest.files.items()
                },
            }
            for e in entries
        },
    }


def _write_json(path: Path, value: Any) -> None:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _write_ledger(path: Path, entries: Sequence[Entry]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(
            ["dataset", "rows", "rows_read", "dropped", "count_source", "licence", "commercial_use",
             "location", "revision", "query_instruction", "doc_instruction", "citation"]
        )  # fmt: skip
        for e in entries:
            location, licence = e.record["location"], e.record["licence"]
            commercial = {True: "yes", False: "no", None: "unknown"}[licence["commercial"]]
            out.writerow(
                [e.name, e.rows, e.stages["pairs"].manifest.counts["rows_in"],
                 "; ".join(f"{reason} {n}" for reason, n in e.drops.items()),
                 e.record["count_source"], licence["spdx"], commercial,
                 location.get("repository", location["files"][0]), location.get("revision", ""),
                 *e.instructions, e.record["citation"]]
            )  # fmt: skip


def _card(entries: Sequence[Entry]) -> str:
    configs = [("default", "data/*/train-*.parquet")]
    configs += [(e.name, f"data/{e.name}/train-*.parquet") for e in entries]
    head = ["---", "pretty_name: MEDI", "language: [en]", "configs:"]
    for name, path in configs:
        head.append(f"- config_name: {json.dumps(name)}")
        head += ["  default: true"] if name == "default" else []
        head += ["  data_files:", "  - split: train", f"    path: {path}"]
    table = [
        f"| {e.name} | {e.rows} | {sum(e.drops.values())} | {e.record['licence']['spdx']} |"
        for e in entries
    ]
    rows = sum(e.rows for e in entries)
    return "\n".join([*head, "---", _CARD.format(datasets=len(entries), rows=rows), *table, ""])


_CARD = """\
# MEDI, rebuilt

{rows} rows of {datasets} datasets in the form of MEDI (arXiv 2212.09741): a query, its positive
and hard negatives, each side with its instruction. Rebuilt from public sources by medi.

A row: `dataset`, `row_id` (position in the source), `query_instruction`, `query`,
`doc_instruction`, `pos`, `neg` (list), `pos_score`, `neg_score` (cosine of the mining encoder),
`negatives` ("native": the source's own; "mined": chosen by the encoder). The model's input is
instruction + text; every instruction ends in ": ".

The paper left open which Super-NI tasks it took, how many rows some sets gave and how negatives
were mined. `ledger.csv` says for each dataset whether its count is the paper's or assumed, its
licence ("unknown" where nobody states one) and what was left out and why; `manifest.json` holds
the keys of every stage; `statistics.json` every count. The licence of a row is its source's.

| dataset | rows | left out | licence |
|---|---:|---:|---|"""
