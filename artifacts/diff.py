"""What changed from one MEDI folder to another: datasets, rows, instructions, licences, keys.

The manifests are compared first; shards are opened only of datasets whose files differ.
"""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from artifacts.errors import InputError
from artifacts.keys import canonical_json
from artifacts.manifest import MANIFEST, FileEntry, FileName

_TEXTS = ("query", "pos", "neg", "negatives")
_SCORES = ("pos_score", "neg_score")
_COLUMNS = ["row_id", *_TEXTS, *_SCORES]  # of a shard
_INSTRUCTIONS = ("query_instruction", "doc_instruction")  # columns of ledger.csv
_LICENCE = ("licence", "commercial_use")
_GIVE = f"give a MEDI folder (what build --publish made) or its {MANIFEST}"

Change = tuple[Any, Any]  # before and after; None: is not there
_Row = tuple[bytes, bytes]  # digests of the texts and of the scores
_Rows = dict[int, Counter[_Row]]  # by row_id, which several rows may share


class _Dataset(BaseModel):
    model_config = ConfigDict(frozen=True)
    rows: int
    in_batch_negatives: bool = True  # as training.data reads it
    keys: dict[str, str]
    environment: dict[str, str]
    files: dict[FileName, FileEntry]


class _Build(BaseModel):
    """The manifest.json of a MEDI folder."""

    model_config = ConfigDict(frozen=True)
    build: dict[str, Any]
    datasets: dict[str, _Dataset]


@dataclass(frozen=True)
class Published:
    """A MEDI folder, or what is left of it: without `data` only counts of rows are known."""

    folder: Path
    manifest: _Build
    ledger: Mapping[str, Mapping[str, str]]  # dataset -> its line; empty where there is none

    @property
    def has_rows(self) -> bool:
        return (self.folder / "data").is_dir()


@dataclass(frozen=True)
class RowChanges:
    """By row_id. `changed`: another query, positive or negative; `rescored`: other scores only."""

    added: int
    removed: int
    changed: int
    rescored: int


@dataclass(frozen=True)
class DatasetChange:
    """`keys`: the stages that have another key. `row_changes`: None where no rows are at hand.
    `in_batch_negatives`: None where it is as it was."""

    dataset: str
    rows: Change
    keys: list[str]
    row_changes: RowChanges | None
    instructions: dict[str, Change]
    licence: dict[str, Change]
    environment: dict[str, Change]
    in_batch_negatives: Change | None


@dataclass(frozen=True)
class Difference:
    """`build`: settings that differ, by dotted name. `ledgers`: whether instructions and licences
    could be compared."""

    added: dict[str, int]  # dataset -> rows
    removed: dict[str, int]
    changed: list[DatasetChange]
    unchanged: int
    build: dict[str, Change]
    ledgers: bool


def open_published(path: Path) -> Published:
    """Raises InputError for what is neither a MEDI folder nor the manifest of one."""
    manifest = path / MANIFEST if path.is_dir() else path
    try:
        build = _Build.model_validate_json(manifest.read_bytes())
    except FileNotFoundError:
        what = f"no {MANIFEST} there" if path.is_dir() else "no such folder or file"
        raise InputError(f"{path}: {what}; {_GIVE}") from None
    except (ValidationError, UnicodeDecodeError):
        raise InputError(f"{manifest}: is not the manifest of a MEDI folder; {_GIVE}") from None
    return Published(manifest.parent, build, _ledger(manifest.with_name("ledger.csv")))


def diff(before: Published, after: Published) -> Difference:
    """Raises InputError for a shard that is missing or cannot be read."""
    old, new = before.manifest.datasets, after.manifest.datasets
    both = [name for name in old if name in new]
    found = [_dataset(name, before, after) for name in both]
    changed = [one for one in found if one is not None]
    return Difference(
        added={name: new[name].rows for name in new if name not in old},
        removed={name: old[name].rows for name in old if name not in new},
        changed=changed,
        unchanged=len(both) - len(changed),
        build=_differing(_flat(before.manifest.build), _flat(after.manifest.build)),
        ledgers=bool(before.ledger and after.ledger),
    )


def _dataset(name: str, before: Published, after: Published) -> DatasetChange | None:
    old, new = before.manifest.datasets[name], after.manifest.datasets[name]
    both = before.ledger and after.ledger
    lines = [side.ledger.get(name, {}) if both else {} for side in (before, after)]
    instructions, licence = (
        _differing(*({column: line.get(column) for column in columns} for line in lines))
        for columns in (_INSTRUCTIONS, _LICENCE)
    )
    keys = list(_differing(old.keys, new.keys))
    environment = _differing(old.environment, new.environment)
    in_batch = (old.in_batch_negatives, new.in_batch_negatives)
    in_batch_change = in_batch if in_batch[0] != in_batch[1] else None
    differs = keys or instructions or licence or environment or in_batch_change
    if not differs and old.files == new.files:
        return None
    changes: RowChanges | None = RowChanges(0, 0, 0, 0)
    if old.files != new.files:
        at_hand = before.has_rows and after.has_rows
        changes = _compare(_rows(name, before), _rows(name, after)) if at_hand else None
    rows = (old.rows, new.rows)
    return DatasetChange(
        name, rows, keys, changes, instructions, licence, environment, in_batch_change
    )


def _compare(old: _Rows, new: _Rows) -> RowChanges:
    """Of rows that share a row_id those of the same texts are one row, then any two."""
    total: Counter[str] = Counter()
    for row_id in old.keys() | new.keys():
        before, after = old.get(row_id, Counter()), new.get(row_id, Counter())
        if before == after:
            continue
        before, after = before - after, after - before
        texts, others = (_texts(rows) for rows in (before, after))
        rescored = (texts & others).total()
        gone, come = before.total() - rescored, after.total() - rescored
        changed = min(gone, come)
        total += Counter(
            added=come - changed, removed=gone - changed, changed=changed, rescored=rescored
        )
    return RowChanges(total["added"], total["removed"], total["changed"], total["rescored"])


def _texts(rows: Counter[_Row]) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for (texts, _), times in rows.items():
        found[texts] += times
    return found


def _rows(name: str, published: Published) -> _Rows:
    found: _Rows = defaultdict(Counter)
    for file in sorted(published.manifest.datasets[name].files):
        for row in _read(published.folder / file):
            found[row["row_id"]][_digest(row, _TEXTS), _digest(row, _SCORES)] += 1
    return found


def _read(shard: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(shard) as file:
            if absent := [name for name in _COLUMNS if name not in file.schema_arrow.names]:
                raise InputError(f"{shard}: has no column {absent[0]}: it is no shard of MEDI")
            for batch in file.iter_batches(columns=_COLUMNS):
                yield from batch.to_pylist()
    except FileNotFoundError:
        raise InputError(f"{shard}: no such file, though {MANIFEST} names it") from None
    except (OSError, pa.ArrowException) as error:
        first = str(error).partition("\n")[0]
        raise InputError(f"{shard}: cannot be read as Parquet ({first})") from None


def _digest(row: Mapping[str, Any], columns: tuple[str, ...]) -> bytes:
    text = canonical_json([row[column] for column in columns])
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _ledger(path: Path) -> dict[str, Mapping[str, str]]:
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {line["dataset"]: line for line in csv.DictReader(file)}
    except (KeyError, csv.Error, UnicodeDecodeError):
        raise InputError(f"{path}: is not the ledger of a MEDI folder") from None


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping) and value
        flat |= _flat(value, f"{above}{name}.") if inner else {f"{above}{name}": value}
    return flat


def _differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Change]:
    names = dict.fromkeys([*old, *new])
    return {n: (old.get(n), new.get(n)) for n in names if old.get(n) != new.get(n)}
