"""The generated sample: true upstream layouts, dirt in places, truth that holds.

The files are parsed here as the upstreams describe them, not by our own readers.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from medi_sources.records import Source
from medi_sources.sample import write_sample
from medi_sources.sample.relations import RELATIONS

_ST = {"kind": "hub", "repository": "sentence-transformers/embedding-training-data"}


def _source(
    name: str, layout: str, files: list[str], *, symmetric: bool = False, **more: Any
) -> Any:
    location = more.pop("location", _ST)
    return {
        "name": name,
        "location": {"revision": "main", "files": files, **location},
        "reader": {"layout": layout, **more},
        "rows": 600,
        "count_source": "assumed",
        "symmetric": symmetric,
        "licence": {"spdx": "unknown"},
    }


def _hub(repository: str) -> dict[str, Any]:
    return {"location": {"kind": "hub", "repository": repository}}


def _github(repository: str) -> dict[str, Any]:
    return {"location": {"kind": "github", "repository": repository}}


_NI = _github("allenai/natural-instructions")
_CAPTIONS = [f"raw/train.{i}.en.gz" for i in range(1, 6)]
_RECORDS = [
    _source("gooaq_pairs", "jsonl_list", ["gooaq_pairs.jsonl.gz"]),
    _source("allnli", "jsonl_list", ["AllNLI.jsonl.gz"], symmetric=True, neg=2),
    _source("amazon_review_2018", "jsonl_list", ["amazon_review_2018.jsonl.gz"]),
    _source("code_search", "jsonl_list", ["codesearchnet.jsonl.gz"]),
    _source("wikianswers", "jsonl_set", ["WikiAnswers.jsonl.gz"], symmetric=True),
    _source("msmarco", "jsonl_query_pos_neg", ["msmarco-triplets.jsonl.gz"]),
    _source("amazon-qa", "jsonl_query_pos_neg", ["amazon-qa.jsonl.gz"]),
    _source("fever", "kilt_dpr", ["fever-train-multikilt.json"], **_hub("made/up")),
    _source("trex", "kilt_dpr", ["trex-train-multikilt.json.gz"], **_hub("made/up")),
    _source(
        "kilt_questions", "kilt", ["a.zip::in/nq.jsonl", "a.zip::in/b.jsonl"], **_github("m/k")
    ),
    _source("pubmedqa", "pubmedqa", ["ori_pqal.json", "ori_pqaa.json"], **_github("p/p")),
    _source("pubmedqa_labeled", "pubmedqa", ["ori_pqal.json"], **_github("p/p")),
    _source("medmcqa", "columns", ["train.parquet"], query="question", pos="exp", **_hub("m/m")),
    _source("other", "columns", ["other.csv"], query="q", pos="a", neg="n", **_hub("m/m")),
    _source("squad_xquad", "squad", ["xquad.en.json"], **_github("x/x")),
    _source("multi30k", "parallel_lines", _CAPTIONS, symmetric=True, **_github("m/3")),
    *(
        _source(name, "superni", [f"tasks/{name}.json"], symmetric=True, **_NI)
        for name in (f"task{i:03d}_made_up" for i in range(1, 25))
    ),
]
_SOURCES: list[Source] = TypeAdapter(list[Source]).validate_python(_RECORDS)
_BY_NAME = {source.name: source for source in _SOURCES}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(_SOURCES, folder)
    return folder


def _content(sample: Path, name: str, number: int = 0) -> bytes:
    location = _BY_NAME[name].location
    archive, _, member = location.mirror_path(location.files[number]).partition("::")
    content = (sample / "mirror" / archive).read_bytes()
    if member:
        content = zipfile.ZipFile(io.BytesIO(content)).read(member)
    return gzip.decompress(content) if location.files[number].endswith(".gz") else content


def _json(sample: Path, name: str) -> Any:
    return json.loads(_content(sample, name))


def _lines(sample: Path, name: str, number: int = 0) -> list[Any]:
    return [json.loads(line) for line in _content(sample, name, number).splitlines()]


def _truth(sample: Path, name: str) -> dict[str, dict[str, Any]]:
    lines = (sample / "truth" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["query"]: line for line in map(json.loads, lines)}


def _labelled(sample: Path, name: str) -> list[tuple[str, list[str], list[str]]]:
    """Query, positives and negatives of every row of some datasets, as upstream pairs them."""
    source = _BY_NAME[name]
    if source.reader.layout == "jsonl_list":
        return [(line[0], [line[1]], line[2:]) for line in _lines(sample, name)]
    if source.reader.layout == "jsonl_query_pos_neg":
        lines = _lines(sample, name)
        return [(line["query"], line["pos"], line.get("neg", [])) for line in lines]
    if source.reader.layout == "squad":
        return [
            (qa["question"], [paragraph["context"]], [])
            for article in _json(sample, name)["data"]
            for paragraph in article["paragraphs"]
            for qa in paragraph["qas"]
        ]
    assert source.reader.layout == "kilt_dpr"

    def told(contexts: list[dict[str, str]]) -> list[str]:
        return [f"{c['title']} {c['text']}".strip() for c in contexts]

    return [
        (item["question"], told(item["positive_ctxs"]), told(item["hard_negative_ctxs"]))
        for item in _json(sample, name)
    ]


_PHRASING = {
    word
    for relation in RELATIONS
    for phrasing in (*relation.asks, *relation.states)
    for word in re.findall(r"\w+", phrasing.lower())
}
_PAIRED = ["gooaq_pairs", "allnli", "amazon_review_2018", "code_search", "msmarco", "amazon-qa"]
_PAIRED += ["fever", "trex", "squad_xquad"]


def test_every_file_of_every_source_is_there_and_nothing_else(sample: Path) -> None:
    asked = {
        source.location.mirror_path(file).partition("::")[0]
        for source in _SOURCES
        for file in source.location.files
    }
    mirror = sample / "mirror"
    found = {str(path.relative_to(mirror)) for path in mirror.rglob("*") if path.is_file()}
    assert {path for path in found if not path.startswith("huggingface.co/medi/")} == asked


def test_row_counts_are_a_few_dozen_and_vary(sample: Path) -> None:
    counts = [len(_labelled(sample, name)) for name in _PAIRED]
    assert all(42 <= count <= 50 for count in counts)  # up to two planted leaks
    assert len(set(counts)) > 2


def test_jsonl_layouts(sample: Path) -> None:
    assert all(len(line) == 2 for line in _lines(sample, "gooaq_pairs"))
    assert all(len(line) == 3 for line in _lines(sample, "allnli"))
    assert all(
        set(line) == {"set"} and len(line["set"]) > 2 for line in _lines(sample, "wikianswers")
    )
    assert all({"query", "pos", "neg"} == set(line) for line in _lines(sample, "msmarco"))
    assert all({"query", "pos"} == set(line) for line in _lines(sample, "amazon-qa"))


def test_kilt_layouts(sample: Path) -> None:
    for item in _json(sample, "trex"):
        assert item["hard_negative_ctxs"] and set(item["positive_ctxs"][0]) >= {"title", "text"}
        assert "[SEP]" in item["question"] or item["question"] == ""
    for number in range(2):
        for line in _lines(sample, "kilt_questions", number):
            (page,) = line["output"][0]["provenance"]
            assert (
                page["title"] in line["input"]
                or not (page["title"] and line["input"])
                or (page["title"].lower() in line["input"].lower())
            )


def test_pubmedqa_layout_joins_to_what_the_truth_says(sample: Path) -> None:
    truth = _truth(sample, "pubmedqa_labeled")
    for pmid, item in _json(sample, "pubmedqa_labeled").items():
        assert pmid.isdigit()
        if item["QUESTION"] and item["CONTEXTS"] != [""]:
            assert " ".join(item["CONTEXTS"]) in truth[item["QUESTION"]]["answers"]


def test_tables_have_their_columns_and_null_positives(sample: Path) -> None:
    """Null explanations are medmcqa's dirt: without them cleaning goes untested."""
    table = pq.read_table(io.BytesIO(_content(sample, "medmcqa")))
    assert {"question", "exp"} <= set(table.column_names)
    assert 1 <= table["exp"].null_count < 0.1 * table.num_rows
    rows = list(csv.DictReader(io.StringIO(_content(sample, "other").decode())))
    assert {"q", "a", "n"} <= set(rows[0])
    assert all(row["q"] and row["n"] for row in rows)


def test_squad_answers_stand_where_they_say(sample: Path) -> None:
    for article in _json(sample, "squad_xquad")["data"]:
        for paragraph in article["paragraphs"]:
            for qa in paragraph["qas"]:
                (answer,) = qa["answers"]
                start, text = answer["answer_start"], answer["text"]
                assert paragraph["context"][start : start + len(text)] == text


def test_parallel_lines_say_the_same_in_other_words(sample: Path) -> None:
    columns = [_content(sample, "multi30k", i).decode().split("\n") for i in range(5)]
    truth = _truth(sample, "multi30k")
    for texts in zip(*columns, strict=True):
        told = [text for text in texts if text]
        assert len(set(told)) == len(told)
        assert all(set(told[1:]) <= {*truth[told[0]]["answers"]} for _ in told[:1])


def test_superni_tasks_are_of_version_two_and_of_both_kinds(sample: Path) -> None:
    """Pairing treats closed labels and free answers differently: both must be there."""
    labels = []
    for source in _SOURCES:
        if source.reader.layout == "superni":
            task = _json(sample, source.name)
            assert task["Definition"] and task["Positive Examples"] and task["Categories"]
            assert task["Input_language"] == task["Output_language"] == ["English"]
            ids = [instance["id"] for instance in task["Instances"]]
            assert len(set(ids)) == len(ids)
            outputs = [instance["output"][0] for instance in task["Instances"]]
            closed = next(iter(_truth(sample, source.name).values()))["label"] is not None
            labels.append(closed)
            assert (len(set(outputs)) <= 10) if closed else (len(set(outputs)) > 12)
    assert 0.25 < sum(labels) / len(labels) < 0.75


def test_superni_truth_pairs_equal_outputs(sample: Path) -> None:
    for source in _SOURCES:
        if source.reader.layout == "superni":
            instances = _json(sample, source.name)["Instances"]
            outputs = {instance["input"]: instance["output"] for instance in instances}
            for query, line in _truth(sample, source.name).items():
                assert all(outputs[answer] == outputs[query] for answer in line["answers"])


@pytest.mark.parametrize("name", _PAIRED)
def test_truth_agrees_with_the_files(sample: Path, name: str) -> None:
    """Every labelled positive is right, no native negative is, planted texts are unlabelled."""
    truth, paired = _truth(sample, name), {}
    for query, positives, negatives in _labelled(sample, name):
        paired.setdefault(query, set()).update(positives)
        if query:
            assert {text for text in positives if text} <= set(truth[query]["answers"])
            assert not set(negatives) & set(truth[query]["answers"])
    documents = {text for positives in paired.values() for text in positives}
    documents |= set(paired) if _BY_NAME[name].symmetric else set()
    assert set(truth) == set(paired) - {""}
    for query, line in truth.items():
        assert set(line["answers"]) <= documents
        assert set(line["planted"]) == set(line["answers"]) - paired[query]


@pytest.mark.parametrize("name", ["gooaq_pairs", "msmarco", "fever", "squad_xquad", "allnli"])
def test_false_negatives_and_hard_negatives_are_planted(sample: Path, name: str) -> None:
    """Without them mining precision on the sample would measure nothing."""
    truth = _truth(sample, name)
    planted = sum(bool(line["planted"]) for line in truth.values())
    assert 0.05 * len(truth) <= planted <= 0.3 * len(truth)
    documents = {text for line in truth.values() for text in line["answers"]}
    words = {query: set(re.findall(r"\w+", query.lower())) for query in truth}
    frequency = Counter(word for each in words.values() for word in each)
    near = 0
    for query, line in truth.items():
        named = {word for word in words[query] - _PHRASING if frequency[word] <= 4}
        wrong = documents - set(line["answers"])
        near += any(named & set(re.findall(r"\w+", text.lower())) for text in wrong)
    assert near > 0.5 * len(truth)


def test_some_rows_are_dirty_and_most_are_not(sample: Path) -> None:
    spoilt = []
    for name in _PAIRED:
        rows = [(query, *positives) for query, positives, _ in _labelled(sample, name)]
        empty = sum("" in row for row in rows)
        again = len(rows) - len(set(rows))
        repeated = max(Counter(row[0] for row in set(rows)).values()) > 1
        assert empty + again < 0.1 * len(rows)
        spoilt.append((empty > 0, again > 0, repeated))
    assert all(any(kind) and not all(kind) for kind in zip(*spoilt, strict=True))
