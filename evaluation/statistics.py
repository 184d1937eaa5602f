"""What a model was trained on, out of the files that its training and its data's build leave.

medi.json      in the model's folder: datasets, rows, instructions, settings
statistics.json    in the MEDI folder: lengths in tokens, negatives, rows left out for leaks
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from artifacts.errors import InputError

MODEL_RECORD = "medi.json"
DATA_RECORD = "statistics.json"
_SUPERNI = re.compile(r"task\d+_")


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class TrainedDataset(_Read):
    rows: int
    held_out_rows: int = 0


class Instruction(_Read):
    query: str
    document: str


class TrainingRecord(_Read):
    """That of medi.json which the report shows."""

    base_encoder: str = ""
    step: int = 0
    options: dict[str, Any] = {}
    datasets: dict[str, TrainedDataset] = {}
    instructions: dict[str, list[Instruction]] = {}


class _Length(_Read):
    mean: float


class _Lengths(_Read):
    query: _Length
    pos: _Length


class _Mined(_Read):
    tokens: _Lengths


class _Pairs(_Read):
    native: int = 0


class _Published(_Read):
    rows: int
    leaks: int = 0


class PublishedDataset(_Read):
    """That of one dataset in statistics.json which the report shows."""

    mine: _Mined
    pairs: _Pairs
    published: _Published


@dataclass(frozen=True)
class Group:
    """Datasets of one kind; mean tokens of a query and a positive (None: not recorded)."""

    name: str
    datasets: int
    rows: int
    held_out: int
    query_tokens: float | None = None
    pos_tokens: float | None = None


def read_training(model: Path) -> TrainingRecord | None:
    """None where the model has no record. InputError for a broken one."""
    path = model / MODEL_RECORD
    if not path.is_file():
        return None
    try:
        return TrainingRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise _broken(MODEL_RECORD, error, "medi train") from error


def read_published(medi: Path) -> dict[str, PublishedDataset]:
    """Dataset -> its figures; empty where the folder has none. InputError for a broken file."""
    path = medi / DATA_RECORD
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, PublishedDataset]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise _broken(DATA_RECORD, error, "medi build") from error


def _broken(name: str, error: ValidationError, writer: str) -> InputError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return InputError(f"{name}, {where}: {first['msg']}; valid is what `{writer}` writes")


def groups(record: TrainingRecord, published: Mapping[str, PublishedDataset]) -> list[Group]:
    """The kinds that MEDI has (paper, section 2), those of them that are there, and all of them."""
    of_kind: dict[str, list[str]] = {
        "Super-NaturalInstructions tasks": [],
        "other, symmetric": [],
        "other, asymmetric": [],
    }
    superni, symmetric, asymmetric = of_kind.values()
    for name in record.datasets:
        if _SUPERNI.match(name):
            superni.append(name)
        elif all(i.query == i.document for i in record.instructions.get(name, ())):
            symmetric.append(name)
        else:
            asymmetric.append(name)
    found = [_group(kind, names, record, published) for kind, names in of_kind.items() if names]
    return [*found, _group("all", list(record.datasets), record, published)] if found else []


def _group(
    kind: str,
    names: Sequence[str],
    record: TrainingRecord,
    published: Mapping[str, PublishedDataset],
) -> Group:
    datasets = [record.datasets[name] for name in names]
    rows, held_out = sum(d.rows for d in datasets), sum(d.held_out_rows for d in datasets)
    if not rows or not set(names) <= set(published):
        return Group(kind, len(names), rows, held_out)
    query, pos = (
        sum(getattr(published[n].mine.tokens, side).mean * record.datasets[n].rows for n in names)
        for side in ("query", "pos")
    )
    return Group(kind, len(names), rows, held_out, query / rows, pos / rows)
