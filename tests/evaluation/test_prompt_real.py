"""Prompt retrieval's real files: read whole, and examples that an embedder chooses are of use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.catalog import load_catalog
from evaluation.prompt_layouts import load_examples
from evaluation.prompt_retrieval import nearest
from evaluation.prompts import Example, PromptOptions
from evaluation.records import EvalTask

_DATA = Path(
    os.environ.get("MEDI_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
_FILES = _DATA / "eval" / "prompt_retrieval"
_MODEL = _DATA.parent / "models" / "all-MiniLM-L6-v2-fp16"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not _FILES.is_dir(), reason=f"no real data in {_DATA} (set MEDI_REAL_DATA)"),
]


def _files(task: EvalTask) -> list[Path]:
    assert task.location is not None
    return [_FILES / Path(file).name for file in task.location.files]


def _examples(name: str, options: PromptOptions) -> tuple[list[Example], list[Example]]:
    task = load_catalog()[name]
    assert task.prompt is not None
    return load_examples(_files(task), "prompt_json", task.prompt, options)


@pytest.mark.parametrize(
    ("name", "classes"), [("PromptSST5", 5), ("PromptMRPC", 2), ("PromptDBpedia14", 14)]
)
def test_every_row_is_read(name: str, classes: int) -> None:
    """The paper's 3,000 to choose examples from and 256 to answer, every class on both sides."""
    train, test = _examples(name, PromptOptions())
    assert (len(train), len(test)) == (3000, 256)
    for part in (train, test):
        assert len({example.answer for example in part}) == classes
    assert {len(example.choices) for example in train} == {classes}


def test_similar_films_are_judged_alike() -> None:
    """By a real encoder's choice among 200 reviews, more often than by chance, for which the share
    of the label among all 200 stands."""
    from sentence_transformers import SentenceTransformer

    train, test = _examples("PromptSST5", PromptOptions(train_rows=200, test_rows=20))
    kwargs = {"dtype": torch.float32}  # 16 bits, as stored, are slow on a CPU
    encoder = SentenceTransformer(str(_MODEL), device="cpu", model_kwargs=kwargs)
    vectors = [encoder.encode([e.embed for e in part]).astype(np.float32) for part in (train, test)]
    orders = nearest(vectors[0], vectors[1])

    def share(example: Example, rows: list[int]) -> float:
        return sum(train[row].answer == example.answer for row in rows) / len(rows)

    near = [share(e, order[:8]) for e, order in zip(test, orders, strict=True)]
    chance = [share(e, order) for e, order in zip(test, orders, strict=True)]
    assert np.mean(near) > np.mean(chance) + 0.03
