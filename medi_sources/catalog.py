"""The catalog: every source record, from the YAML files of catalog/."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from pydantic import ValidationError

from annotations.yaml_file import first_fault, read_yaml
from artifacts.errors import InputError, did_you_mean
from artifacts.location import LocalFiles, located
from medi_sources.records import Source

FOLDER = Path(__file__).parent / "catalog"
_LIMIT = 4 * 1024 * 1024


def load_catalog(folder: Path = FOLDER) -> Mapping[str, Source]:
    """All records by name: files in the order of their names, records as they stand in each.

    medi's own are read once a process. Raises InputError naming the file, the record and the
    field at fault.
    """
    return _medis_own() if folder == FOLDER else _load(folder)


@cache
def _medis_own() -> Mapping[str, Source]:
    return _load(FOLDER)


def _load(folder: Path) -> dict[str, Source]:
    if not folder.is_dir():
        raise InputError(f"no folder of source records at {folder}")
    catalog: dict[str, Source] = {}
    first_seen: dict[str, Path] = {}
    for path in sorted(folder.glob("*.yaml")):
        for source in _records(path):
            if source.name in catalog:
                seen = first_seen[source.name]
                raise InputError(f"{path}: record {source.name} exists already, in {seen}")
            catalog[source.name] = source
            first_seen[source.name] = path
    return catalog


def with_own(catalog: Mapping[str, Source], folder: Path) -> dict[str, Source]:
    """The catalog and the records of a user's own folder, whose collection is "own".

    Local files are taken from that folder; their sha256 goes into the record, so that a changed
    file is another input. Raises InputError as `load_catalog` does, for a folder without records,
    for a name that the catalog has, and for a local file that is not there.
    """
    own = load_catalog(folder) if folder.is_dir() else {}
    if not own:
        raise InputError(f"--sources {folder}: no *.yaml with source records there")
    found = dict(catalog)
    for name, source in own.items():
        if name in catalog:
            raise InputError(f"--sources {folder}: {name} is in medi's catalog: take another name")
        location = source.location
        if isinstance(location, LocalFiles):
            location = located(location, folder)
        found[name] = source.model_copy(update={"collection": "own", "location": location})
    return found


def task_ids(catalog: Mapping[str, Source]) -> dict[str, int]:
    """The 330 datasets numbered from 0: first those by hand, then the Super-NI tasks by name."""
    names = [name for name, source in catalog.items() if source.collection == "medi"]
    return {name: number for number, name in enumerate(names)}


def select(catalog: Mapping[str, Source], names: Iterable[str]) -> list[Source]:
    """The records of these names, in the order asked for, each once.

    Raises InputError for a name the catalog does not have, with the names nearest to it.
    """
    chosen = []
    for name in dict.fromkeys(names):
        if name not in catalog:
            hint = did_you_mean(name, catalog)
            raise InputError(f"no dataset {name} among the {len(catalog)} of the catalog{hint}")
        chosen.append(catalog[name])
    return chosen


def _records(path: Path) -> list[Source]:
    entries = read_yaml(path, _LIMIT)
    if not isinstance(entries, list):
        raise InputError(f"{path}: must be a list of source records")
    records = []
    for number, entry in enumerate(entries, start=1):
        try:
            records.append(Source.model_validate(entry))
        except ValidationError as error:
            name = entry.get("name") if isinstance(entry, dict) else None
            raise InputError(f"{path}: record {name or number}: {first_fault(error)}") from error
    return records
