"""On the sample every planted leak is found, and nothing else is: in all 330 datasets."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from artifacts.text import normalise
from evaluation.catalog import load_catalog as evaluation_catalog
from evaluation.texts import catalog_texts
from medi_sources.catalog import load_catalog
from medi_sources.leaks import DecontaminationOptions, EvaluationTexts
from medi_sources.readers import Item, read
from medi_sources.records import Source
from medi_sources.sample import write_sample


def all_texts(source: Source, mirror: Path) -> pa.Table:
    """Every text that the source's files hold, as a table to look for leaks in."""
    files = [mirror / source.location.mirror_path(file) for file in source.location.files]
    items = [row for row in read(source, files) if isinstance(row, Item)]
    return pa.table(
        {
            "row_id": [item.row_id for item in items],
            "query": [item.query for item in items],
            "pos": [item.output or "" for item in items],
            "neg": pa.array(
                [[*item.positives, *item.negatives] for item in items], pa.list_(pa.string())
            ),
        }
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_leaks_are_found_and_nothing_else(tmp_path: Path, seed: int) -> None:
    sources = [source for source in load_catalog().values() if source.collection == "medi"]
    write_sample(sources, tmp_path, seed)
    mirror = tmp_path / "mirror"
    tasks = {n: t for n, t in evaluation_catalog().items() if n.startswith("Sample")}
    index = EvaluationTexts(
        {
            name: catalog_texts(
                task, [mirror / task.location.mirror_path(file) for file in task.location.files]
            )
            for name, task in tasks.items()
        },
        DecontaminationOptions(),
    )
    planted = set()
    for path in (tmp_path / "truth" / "leaks").glob("*.jsonl"):
        for leak in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
            planted.add((leak["dataset"], leak["task"], normalise(leak["text"])))
    assert len({dataset for dataset, _, _ in planted}) == 5

    found = set()
    for source in sources:
        table = all_texts(source, mirror)
        rows = {row["row_id"]: row for row in table.to_pylist()}
        for leak in index.leaks(source.name, table).to_pylist():
            said = rows[leak["row_id"]][leak["side"]]
            text = said[leak["position"]] if leak["side"] == "neg" else said
            found.add((leak["dataset"], leak["task"], normalise(text)))

    # A question may stand in two evaluation tasks; a passage in a KILT file follows its title.
    assert {dataset for dataset, _, _ in found} == {dataset for dataset, _, _ in planted}
    for dataset, task, text in planted:
        assert any(d == dataset and t == task and f.endswith(text) for d, t, f in found)
    for dataset, _, text in found:
        assert any(d == dataset and text.endswith(p) for d, _, p in planted)
