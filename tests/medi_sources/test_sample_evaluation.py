"""The sample's evaluation files: real layouts, graded scores, nothing that training has seen."""

from __future__ import annotations

import csv
import email
import gzip
import json
import re
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medi_sources.records import Source
from medi_sources.sample import write_sample


def _source(name: str, layout: str, file: str) -> Source:
    return Source.model_validate(
        {
            "name": name,
            "location": {"kind": "hub", "repository": "a/b", "revision": "main", "files": [file]},
            "reader": {"layout": layout},
            "rows": 600,
            "count_source": "assumed",
            "symmetric": layout == "jsonl_set",
            "licence": {"spdx": "unknown"},
        }
    )


_SOURCES = [
    *(
        _source(f"{name}_qa", "jsonl_list", f"{name}.jsonl.gz")
        for name in ("squad", "paq", "gooaq")
    ),
    _source("nq", "kilt_dpr", "nq-train-multikilt.json"),
    _source("flickr30k_captions", "jsonl_set", "flickr30k_captions.jsonl.gz"),
    *(_source(f"task{i:03d}_made_up", "superni", f"task{i:03d}.json") for i in range(10)),
]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    write_sample(_SOURCES, folder)
    return folder


def _evaluation(sample: Path) -> Path:
    return sample / "mirror" / "huggingface.co" / "medi" / "sample-world" / "eval"


def _evaluation_texts(sample: Path) -> dict[str, list[str]]:
    folder = _evaluation(sample)
    squad = json.loads((folder / "squad.json").read_text())
    paragraphs = [p for article in squad["data"] for p in article["paragraphs"]]
    with tarfile.open(folder / "groups.tar.gz") as tar:
        messages = [tar.extractfile(m) for m in tar.getmembers() if m.isfile()]
        bodies = [str(email.message_from_binary_file(m).get_payload()) for m in messages if m]
    sts = list(csv.reader((folder / "sts.csv").open(newline="")))
    lines = (folder / "questions.label").read_text(encoding="latin-1").splitlines()
    hyps = [json.loads(line) for line in (folder / "captions_THumB-1.0.jsonl").open()]
    prompts = {part: _prompts(sample, part) for part in ("train", "test")}
    return {
        "paragraphs": [p["context"] for p in paragraphs],
        "asked": [qa["question"] for p in paragraphs for qa in p["qas"]],
        "bodies": bodies,
        "sts": [text for row in sts for text in row[:2]],
        "questions": [line.partition(" ")[2] for line in lines],
        "captions": [line["hyp"] for line in hyps],
        "prompts_train": [row["text"] for row in prompts["train"]],
        "prompts_test": [row["text"] for row in prompts["test"]],
    }


def _prompts(sample: Path, part: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        (_evaluation(sample) / f"prompt_{part}.json").read_text()
    )
    return rows


def test_evaluation_files_have_real_layouts_and_enough_rows(sample: Path) -> None:
    folder, texts = _evaluation(sample), _evaluation_texts(sample)
    sizes = {name: len(each) for name, each in texts.items()}
    assert sizes["paragraphs"] == len(set(texts["paragraphs"])) == 120
    assert sizes["asked"] == len(set(texts["asked"])) == 60
    assert (sizes["sts"], sizes["questions"], sizes["captions"]) == (200, 300, 80)
    with tarfile.open(folder / "groups.tar.gz") as tar:
        groups = Counter(m.name.split("/")[-2] for m in tar.getmembers() if m.isfile())
    assert len(groups) == 5 and set(groups.values()) == {30}
    lines = (folder / "questions.label").read_text(encoding="latin-1").splitlines()
    classes = Counter(re.match(r"([A-Z]+):[a-z]+ \S", line)[1] for line in lines)  # type: ignore[index]
    assert set(classes) == {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert set(classes.values()) == {50}


def test_prompt_rows_have_every_class_on_both_sides_and_no_text_on_both(sample: Path) -> None:
    texts = _evaluation_texts(sample)
    assert not set(texts["prompts_train"]) & set(texts["prompts_test"])
    for part, each in (("train", 20), ("test", 5)):
        rows = _prompts(sample, part)
        assert Counter(row["label"] for row in rows) == dict.fromkeys(range(6), each)
        assert [row["idx"] for row in rows] == list(range(6 * each))
        assert len({row["text"] for row in rows}) == 6 * each


def test_evaluation_scores_are_graded(sample: Path) -> None:
    folder = _evaluation(sample)
    scores = [float(row[2]) for row in csv.reader((folder / "sts.csv").open(newline=""))]
    assert len(scores) == 100 and min(scores) == 0 and max(scores) == 5 and len(set(scores)) > 5
    refs = [json.loads(line) for line in (folder / "captions_references.jsonl").open()]
    segments = {line["seg_id"]: line["refs"] for line in refs}
    for line in map(json.loads, (folder / "captions_THumB-1.0.jsonl").open()):
        assert len(segments[line["seg_id"]]) == 4
        assert 0 <= line["human_score"] <= 5


def test_evaluation_is_held_out_but_in_the_same_words(sample: Path) -> None:
    """A score on texts that training has seen would measure memory."""
    seen: set[str] = set()
    planted = [
        re.sub(r"\s+", " ", json.loads(line)["text"].lower())
        for path in (sample / "truth" / "leaks").glob("*.jsonl")
        for line in path.open()
    ]
    for source in _SOURCES:
        path = sample / "mirror" / source.location.mirror_path(source.location.files[0])
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
        text = re.sub(r"\s+", " ", text.lower())
        for leak in planted:
            text = text.replace(leak, "")
        seen.update(re.findall(r"[a-z]+", text))
    assert len(seen) > 1000
    for name, texts in _evaluation_texts(sample).items():
        words = [re.findall(r"[a-z]+", text.lower()) for text in texts]
        assert all(any(word not in seen for word in text) for text in words), name
        known = [word in seen for text in words for word in text]
        assert sum(known) / len(known) > 0.6, name
