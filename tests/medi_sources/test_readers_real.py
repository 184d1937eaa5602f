"""Readers and pairs on real upstream files: what they give, and that wrong files are refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.encoder import Vectors
from artifacts.errors import DatasetError
from medi_sources.fetch import fetch, local_names
from medi_sources.pairs import PairsOptions, PairsResult, build_pairs
from medi_sources.readers import Item, read, superni_definition
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


HF = "huggingface/datasets"
KILT = "kilt_tasks/{}/1.0.0"


def dummy(folder: str, member: str, layout: str = "columns", **roles: Any) -> Source:
    """A member of one of the archives that keep a few real rows of a dataset in its layout."""
    name, _, version = folder.partition("/")
    path = f"datasets/{name}/dummy/{version}/dummy_data.zip::dummy_data/{member}"
    return source(HF, [path], layout, **roles)


@pytest.mark.parametrize(
    "of, items, other",
    [
        (source("google-deepmind/xquad", ["xquad.en.json"], "squad"), 1190, 0),
        (source("pubmedqa/pubmedqa", ["data/ori_pqal.json"], "pubmedqa"), 1000, 0),
        (
            source(
                "FlagOpen/FlagEmbedding",
                ["examples/finetune/embedder/example_data/retrieval/nq.jsonl"],
                "jsonl_query_pos_neg",
            ),
            10,
            0,
        ),
        (dummy("gooaq/1.2.0", "gooaq.jsonl", query="question", pos="answer"), 3, 0),
        (dummy("medmcqa/1.1.0", "train.json", query="question", pos="exp"), 1, 0),
        (dummy("medmcqa/1.1.0", "test.json", query="question", pos="exp"), 0, 1),
        (
            dummy(
                "quora/0.0.0",
                "quora_duplicate_questions.tsv",
                query="question1",
                pos="question2",
            ),
            2,
            0,
        ),
        (
            dummy(
                "snli/plain_text/1.0.0",
                "snli_1.0/snli_1.0_train.txt",
                query="sentence1",
                pos="sentence2",
            ),
            3,
            0,
        ),
        (dummy("wikihow/all/1.2.0", "wikihowAll.csv", query="headline", pos="text"), 1, 0),
        (dummy(KILT.format("trex"), "trex-train-kilt.jsonl", "kilt"), 5, 0),
        (dummy(KILT.format("wow"), "wow-train-kilt.jsonl", "kilt"), 5, 0),
        # TriviaQA's KILT files come without the questions.
        (
            dummy(KILT.format("triviaqa_support_only"), "triviaqa-train_id-kilt.jsonl", "kilt"),
            0,
            5,
        ),
    ],
    ids=lambda value: value.location.files[0].rsplit("/", 1)[-1] if hasattr(value, "name") else "",
)
def test_a_real_file_gives_its_rows(
    of: Source, items: int, other: int, tmp_path: Path, mirror: Path
) -> None:
    rows = list(read(of, fetched(of, tmp_path, mirror)))
    found = [isinstance(row, Item) for row in rows]
    assert (sum(found), len(found) - sum(found)) == (items, other)
    assert all(row.query.strip() for row in rows if isinstance(row, Item))


def test_five_captions_of_each_image_make_one_row(tmp_path: Path, mirror: Path) -> None:
    files = [f"data/task2/raw/val.{i}.en.gz" for i in range(1, 6)]
    of = source("multi30k/dataset", files, "parallel_lines")
    result = build_pairs(of, fetched(of, tmp_path, mirror), PairsOptions(cap=200))
    assert result.counts["rows_in"] == 1014
    assert result.pairs.num_rows == 200
    assert max(map(len, result.pairs["known_pos"].to_pylist())) == 5


def test_a_file_named_gz_that_is_not_packed_is_refused(tmp_path: Path, mirror: Path) -> None:
    of = dummy("ms_marco/v1.1/1.1.0", "train_v1.1.json.gz", "jsonl_query_pos_neg")
    with pytest.raises(DatasetError, match="expected a whole gzip file"):
        list(read(of, fetched(of, tmp_path, mirror)))


def test_every_real_task_file_is_read() -> None:
    """v2 and the early-2021 schema, which has no ids and a definition that is one text."""
    files = sorted((DATA / "train").glob("superni*/**/task*.json"))
    assert len(files) == 140
    task = source("allenai/natural-instructions", ["tasks/t.json"], "superni")
    for file in files:
        assert superni_definition(file)
        assert all(isinstance(row, Item) for row in read(task, [file])), file.name


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
