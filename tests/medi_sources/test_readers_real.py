"""Readers and pairs on real upstream files: what they give, and that wrong files are refused."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import yaml

from artifacts.encoder import Vectors
from artifacts.errors import DatasetError
from medi_sources.clean import CleaningOptions, clean
from medi_sources.fetch import fetch, local_names
from medi_sources.pairs import PairsOptions, PairsResult, build_pairs
from medi_sources.readers import Dropped, Item, read, superni_definition
from medi_sources.records import Source
from tests.real_mirror import lay_out

DATA = Path(os.environ.get("MEDI_REAL_DATA", Path(__file__).parents[2] / "../shared/data"))

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data in {DATA} (MEDI_REAL_DATA)"),
]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    assert lay_out(DATA, folder) > 0
    return folder


def source(repository: str, files: Sequence[str], layout: str, **roles: Any) -> Source:
    location = {"kind": "github", "repository": repository, "revision": "main", "files": files}
    return Source.model_validate(
        {
            "name": "real",
            "location": location,
            "reader": {"layout": layout, **roles},
            "rows": 100,
            "count_source": "assumed",
            "symmetric": False,
            "licence": {"spdx": "unknown"},
        }
    )


def fetched(of: Source, folder: Path, mirror: Path) -> list[Path]:
    fetch(of.location, folder, mirror)
    return [folder / name for name in local_names(of.location)]


ARCHIVES = DATA / "train/upstream_layouts"


def groups_of(archive: str, members: str) -> list[list[str]]:
    """The files of each source that a row of the table stands for, as the mirror knows them.

    Plain files are paths of the data folder."""
    if archive == "-":
        if "+" in members:
            return [[str(DATA / "train" / member) for member in members.split("+")]]
        return [[str(path)] for path in sorted((DATA / "train").glob(members))]
    groups = []
    for path in zips_of(archive):
        inside = f"datasets/{path.relative_to(ARCHIVES).as_posix()}::"
        if "+" in members:
            groups.append([f"{inside}dummy_data/{member}" for member in members.split("+")])
        else:
            groups += [[inside + name] for name in sorted(names_in(path, members))]
    return groups


def zips_of(archive: str) -> list[Path]:
    """`a/b` are the archives of dataset a at b; of a alone, all."""
    dataset, _, config = archive.partition("/")
    return sorted(ARCHIVES.glob(f"{dataset}/dummy/{config or '**'}/**/dummy_data.zip"))


def names_in(path: Path, members: str) -> list[str]:
    wanted = members if members == "dummy_data" else f"dummy_data/{members}"
    with zipfile.ZipFile(path) as archive:
        return [name for name in archive.namelist() if fnmatch(name, wanted) and name[-1] != "/"]


def outcome(
    reader: dict[str, Any], groups: list[list[str]], mirror: Path
) -> tuple[dict[str, int], str]:
    """How many rows are used and why the others are not, and a hash of what was read."""
    counts: Counter[str] = Counter()
    digest = hashlib.sha256()
    for files in groups:
        for row in rows_of(reader, files, mirror):
            cleaned = clean(row, CleaningOptions()) if isinstance(row, Item) else row
            counts["used" if isinstance(cleaned, Item) else cleaned.reason] += 1
            if isinstance(row, Item):
                digest.update(json.dumps(asdict(row)).encode())
    return dict(counts), digest.hexdigest()[:8]


def rows_of(reader: dict[str, Any], files: list[str], mirror: Path) -> Iterator[Item | Dropped]:
    if "::" not in files[0]:
        yield from read(source("a/b", files=["f"], **reader), [Path(file) for file in files])
        return
    of = source("huggingface/datasets", files, **reader)
    with TemporaryDirectory() as folder:
        yield from read(of, fetched(of, Path(folder), mirror))


TABLE = yaml.safe_load(Path(__file__).with_name("real_files.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "reader, archive, members, counts, digest",
    [
        pytest.param(each["reader"], *row, id=f"{each['reader']['layout']}-{' '.join(row[:2])}")
        for each in TABLE["read"]
        for row in each["files"]
    ],
)
def test_real_files_give_their_rows(
    reader: dict[str, Any],
    archive: str,
    members: str,
    counts: dict[str, int],
    digest: str,
    mirror: Path,
) -> None:
    groups = groups_of(archive, members)
    assert groups, "no such file in the real data"
    assert outcome(reader, groups, mirror) == (counts, digest)


def test_every_archive_is_read_or_has_a_reason_why_not() -> None:
    read_from = {
        path for each in TABLE["read"] for row in each["files"] for path in zips_of(row[0])
    }
    left_out = {path for archive in TABLE["no_pairs"] for path in zips_of(archive)}
    assert read_from | left_out == set(ARCHIVES.rglob("*.zip"))
    assert sorted(read_from & left_out) == []


def test_five_captions_of_each_image_make_one_row(tmp_path: Path, mirror: Path) -> None:
    files = [f"data/task2/raw/val.{i}.en.gz" for i in range(1, 6)]
    of = source("multi30k/dataset", files, "parallel_lines")
    result = build_pairs(of, fetched(of, tmp_path, mirror), PairsOptions(cap=200))
    assert result.counts["rows_in"] == 1014
    assert result.pairs.num_rows == 200
    assert max(map(len, result.pairs["known_pos"].to_pylist())) == 5


@pytest.mark.parametrize(
    "reader, archive, member, message",
    [
        ({"layout": "kilt"}, "ms_marco", "train_v1.1.json.gz", "expected a whole gzip file"),
        (
            {"layout": "columns", "query": "question", "pos": "answer"},
            "cosmos_qa",
            "train",
            "train: expected a name that ends in one of .*, or the record to say the .* format",
        ),
        ({"layout": "squad"}, "drop", "drop_dataset/*_train.json", "expected SQuAD JSON .* found"),
        ({"layout": "kilt_dpr"}, "gooaq", "gooaq.jsonl", "expected a JSON list of .* found at"),
        (
            {"layout": "columns", "query": "a", "pos": "b", "format": "json_list"},
            "-",
            "triviaqa/*.json",
            "triviaqa_sample.json: expected a JSON list of objects, found at element 0",
        ),
    ],
)
def test_a_real_file_of_another_layout_is_refused_in_one_line(
    reader: dict[str, Any], archive: str, member: str, message: str, mirror: Path
) -> None:
    [files] = groups_of(archive, member)
    with pytest.raises(DatasetError, match=message) as caught:
        list(rows_of(reader, files, mirror))
    assert "\n" not in str(caught.value)


def test_every_real_task_file_has_a_definition() -> None:
    """v2 and the early-2021 schema, whose definition is one text."""
    files = sorted((DATA / "train").glob("superni*/**/task*.json"))
    assert len(files) == 140
    assert all(superni_definition(file) for file in files)


@pytest.fixture(scope="module")
def encode() -> Any:
    from sentence_transformers import SentenceTransformer

    folder = DATA / "../models/all-MiniLM-L6-v2-fp16"
    if not folder.is_dir():
        pytest.skip(f"no encoder in {folder}")
    model = SentenceTransformer(str(folder), device="cpu").float()

    known: dict[str, Any] = {}

    def vectors(texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, model.encode(new, normalize_embeddings=True), strict=True))
        return np.stack([known[text] for text in texts]).astype(np.float32)

    return vectors


def of_task(task: str, folder: Path, mirror: Path, encode: Any) -> tuple[PairsResult, list[Item]]:
    of = source("allenai/natural-instructions", [f"tasks/{task}.json"], "superni")
    files = fetched(of, folder, mirror)
    result = build_pairs(of, files, PairsOptions(cap=600), encode)
    return result, [row for row in read(of, files) if isinstance(row, Item)]


def test_a_real_classification_task_pairs_by_label(
    tmp_path: Path, mirror: Path, encode: Any
) -> None:
    result, items = of_task("task1289_trec_classification", tmp_path, mirror, encode)
    assert (result.counts["superni_kind"], result.counts["superni_labels"]) == (
        "classification",
        6,
    )
    label = {item.query.strip(): (item.output or "").lower() for item in items}
    rows = result.pairs.to_pylist()
    assert len(rows) > 250
    for row in rows:
        assert label[row["pos"]] == label[row["query"]]
        assert all(label[negative] != label[row["query"]] for negative in row["neg"])


def test_a_real_generation_task_pairs_like_outputs(
    tmp_path: Path, mirror: Path, encode: Any
) -> None:
    """By the formulas a positive's output is nearer to the query's than a hard negative's is."""
    task = "task143_odd-man-out_classification_generate_category"
    result, items = of_task(task, tmp_path, mirror, encode)
    assert result.counts["superni_kind"] == "generation"
    output = {item.query.strip(): item.output or "" for item in items}
    rows = result.pairs.to_pylist()
    query, pos, neg = (
        encode([output[text] for text in texts])
        for texts in (
            [row["query"] for row in rows],
            [row["pos"] for row in rows],
            [row["neg"][0] for row in rows],
        )
    )
    nearer = (query * pos).sum(axis=1) >= (query * neg).sum(axis=1)
    assert nearer.mean() > 0.95
