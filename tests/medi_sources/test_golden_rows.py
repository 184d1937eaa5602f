"""One row of every dataset of the catalog, as its reader gives it from the generated sample.

    python tests/medi_sources/test_golden_rows.py

writes golden_rows.jsonl anew: after a change of the sample or of a record that is meant.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from medi_sources.catalog import load_catalog
from medi_sources.clean import CleaningOptions, clean
from medi_sources.fetch import fetch, local_names
from medi_sources.readers import Item, read
from medi_sources.records import Source
from medi_sources.sample import write_sample

GOLDEN = Path(__file__).with_name("golden_rows.jsonl")
CATALOG = load_catalog()


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(list(CATALOG.values()), folder)
    return folder / "mirror"


def first_row(source: Source, mirror: Path) -> dict[str, Any]:
    """The first row of the source that cleaning keeps, as it was read."""
    with TemporaryDirectory() as folder:
        fetch(source.location, Path(folder), mirror)
        files = [Path(folder, name) for name in local_names(source.location)]
        for row in read(source, files):
            if isinstance(row, Item) and isinstance(clean(row, CleaningOptions()), Item):
                return _written(source.name, row)
    raise AssertionError(f"{source.name}: no row of its sample can be used")


def _written(name: str, item: Item) -> dict[str, Any]:
    row = {"dataset": name, "row_id": item.row_id, "query": item.query}
    if item.output is not None:
        return {**row, "output": item.output}
    pairs = {"positives": list(item.positives), "negatives": list(item.negatives)}
    return {**row, **pairs, **({"is_set": True} if item.is_set else {})}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    rows = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()]
    by_name = {row["dataset"]: row for row in rows}
    assert len(by_name) == len(rows), "a dataset has two golden rows"
    return by_name


def test_every_dataset_has_a_golden_row_and_every_golden_row_a_dataset(
    golden: dict[str, Any],
) -> None:
    assert golden.keys() - CATALOG.keys() == set()
    assert CATALOG.keys() - golden.keys() == set()


def test_every_dataset_gives_its_golden_row(golden: dict[str, Any], mirror: Path) -> None:
    rows = {name: first_row(source, mirror) for name, source in CATALOG.items()}
    changed = [name for name, row in rows.items() if row != golden.get(name)]
    first = [(rows[name], golden.get(name)) for name in changed[:1]]
    assert not changed, f"{changed} give another row; (now, golden) of the first: {first}"


def main() -> None:
    with TemporaryDirectory() as folder:
        write_sample(list(CATALOG.values()), Path(folder))
        rows = [first_row(source, Path(folder, "mirror")) for source in CATALOG.values()]
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    GOLDEN.write_text("".join(lines), encoding="utf-8")
    print(f"{len(rows)} rows in {GOLDEN}")


if __name__ == "__main__":
    main()
