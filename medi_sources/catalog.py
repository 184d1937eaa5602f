"""The catalog: every source record, from the YAML files of catalog/."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from annotations.yaml_file import first_fault, read_yaml
from artifacts.errors import InputError
from medi_sources.records import Source

FOLDER = Path(__file__).parent / "catalog"
_LIMIT = 4 * 1024 * 1024


def load_catalog(folder: Path = FOLDER) -> dict[str, Source]:
    """All records by name: files in the order of their names, records as they stand in each.

    Raises InputError naming the file, the record and the field at fault.
    """
    if not folder.is_dir():
        raise InputError(f"catalog folder {folder} does not exist")
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


def select(catalog: Mapping[str, Source], names: Iterable[str]) -> list[Source]:
    """The records of these names, in the order asked for, each once.

    Raises InputError for a name the catalog does not have, with the names nearest to it.
    """
    chosen = []
    for name in dict.fromkeys(names):
        if name not in catalog:
            near = difflib.get_close_matches(name, catalog, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
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
