"""Invented data in every layout, and a model of hand-set word vectors: no network, no weights."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts.models import ModelRef, resolve_model
from artifacts.store import Store
from evaluation.records import EvalTask

METRICS = {
    "stsb_csv": ("STS", "cosine_spearman"),
    "sts_tsv": ("STS", "cosine_spearman"),
    "label_lines": ("Classification", "accuracy"),
    "newsgroups_tar": ("Clustering", "v_measure"),
    "squad": ("Retrieval", "ndcg_at_10"),
    "billboard": ("Billboard", "cosine_pearson"),
}


@pytest.fixture
def eval_task() -> Callable[..., EvalTask]:
    """A task record of a layout, other fields by keyword."""

    def make(layout: str, **fields: Any) -> EvalTask:
        category, metric = METRICS[layout]
        record: dict[str, Any] = {
            "name": "Invented" + layout.replace("_", ""),
            "category": category,
            "location": {"kind": "hub", "repository": "a/b", "revision": "r1", "files": ["f"]},
            "layout": layout,
            "metric": metric,
            "characters": 1000,
            "licence": "CC0-1.0",
            "test_rows": 6 if layout == "label_lines" else None,
        }
        return EvalTask.model_validate(record | fields)

    return make


def save_word_model(folder: Path, vectors: Mapping[str, Sequence[float]]) -> ModelRef:
    """A sentence-transformers folder: a text's embedding is the mean of its words' vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = ["[UNK]", *vectors]
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    width = len(next(iter(vectors.values())))
    weights = np.array([[0.01] * width, *vectors.values()], dtype=np.float32)
    static = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[static], device="cpu").save(str(folder), create_model_card=False)
    return resolve_model(str(folder), None)


@pytest.fixture(scope="session")
def words() -> dict[str, list[float]]:
    """Three topics, four words each, near one axis each."""
    topics = {
        "sea": ["wave", "tide", "ship", "harbour"],
        "kitchen": ["oven", "flour", "bread", "knife"],
        "sky": ["cloud", "star", "comet", "rain"],
    }
    return {
        word: [1.0 if axis == topic else 0.05 * (i + 1) for axis in range(3)]
        for topic, group in enumerate(topics.values())
        for i, word in enumerate(group)
    }


@pytest.fixture(scope="session")
def word_model(tmp_path_factory: pytest.TempPathFactory, words: dict[str, list[float]]) -> ModelRef:
    return save_word_model(tmp_path_factory.mktemp("models") / "word-model", words)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def save_model() -> Callable[[Path, Mapping[str, Sequence[float]]], ModelRef]:
    return save_word_model


@pytest.fixture
def data(tmp_path: Path, words: dict[str, list[float]]) -> dict[str, list[Path]]:
    """Layout -> its files, with a few rows over the words of the model."""
    names = list(words)
    topic = {name: i // 4 for i, name in enumerate(names)}
    pairs = [(a, b, 5.0 if topic[a] == topic[b] else 1.0) for a in names[:6] for b in names[4:]]
    files = {
        "stsb_csv": ["".join(f'"{a}, a",{b},{score}\n' for a, b, score in pairs)],
        "sts_tsv": ["".join(f"{score}\t{a}\t{b}\n" for a, b, score in pairs) + "\twave\tstar\n"],
        "label_lines": [
            "".join(f"T{topic[a]}:x {a} {a} {a} {b}\n" for a in names for b in names[::5])
        ],
        "squad": [json.dumps(squad([(f"{a} of what", f"{a} and {a}") for a in names]))],
        "billboard": [
            "".join(
                json.dumps({"seg_id": a, "hyp": b, "human_score": score}) + "\n"
                for a, b, score in pairs
            ),
            "".join(json.dumps({"seg_id": a, "refs": [a, f"{a} {a}"]}) + "\n" for a in names),
        ],
    }
    paths = {
        layout: [_write(tmp_path / f"{layout}-{i}", text) for i, text in enumerate(texts)]
        for layout, texts in files.items()
    }
    paths["newsgroups_tar"] = [
        newsgroups(tmp_path / "groups.tar.gz", [(f"group{topic[a]}", a) for a in names])
    ]
    return paths


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def squad(asked: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """(question, paragraph) pairs as SQuAD v1.1; a paragraph may come again."""
    paragraphs = [
        {"context": context, "qas": [{"id": f"q{i}", "question": question, "answers": []}]}
        for i, (question, context) in enumerate(asked)
    ]
    return {"version": "1.1", "data": [{"title": "Invented", "paragraphs": paragraphs}]}


def newsgroups(path: Path, messages: Sequence[tuple[str, str]]) -> Path:
    """(group, body) pairs as RFC-822 messages in folders, with a stray file above them."""
    with tarfile.open(path, "w:gz") as archive:
        texts = [("top/.DS_Store", "junk")]
        texts += [
            (f"top/{group}/{i}", f"From: nobody@example.org\nSubject: hello\n\n{body}\n")
            for i, (group, body) in enumerate(messages)
        ]
        for name, text in texts:
            packed = text.encode("latin-1")
            info = tarfile.TarInfo(name)
            info.size = len(packed)
            archive.addfile(info, io.BytesIO(packed))
    return path
