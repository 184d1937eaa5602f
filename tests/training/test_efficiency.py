"""Padding costs as much as text: how much of what is computed is text, on real data.

    MEDI_REAL_DATA=DIR pytest -n 0 -s tests/training/test_efficiency.py

prints the table. Each Super-NI task's inputs and SQuAD's questions and passages, tokenised with
T5's vocabulary, 64 rows a batch. Positives and negatives of Super-NI, and negatives of SQuAD, are
drawn at random: found by an encoder they would be nearer to the query in length as well.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer

from tests.token_texts import medi_row, write_shard
from training.chunks import Indices
from training.data import datasets_of
from training.options import TrainingOptions
from training.plan import Plan, write_plan
from training.token_store import TokenTable, write_tokens
from training.tokens import Tokeniser

EVERY = 3  # of the tasks so many-th is read: all of them take half a minute and say the same


def superni(folder: Path, random_: random.Random) -> Iterator[tuple[str, list[Any]]]:
    for path in sorted((folder / "tasks").glob("task*.json"))[::EVERY]:
        task = json.loads(path.read_text(encoding="utf-8"))
        instruction = "Represent the example for the following task: "
        texts = [(instruction, one["input"]) for one in task["Instances"]]
        drawn = [random_.choices(texts, k=2) for _ in texts]
        yield (
            path.stem,
            [medi_row(i, texts[i], pos, [neg[1]]) for i, (pos, neg) in enumerate(drawn)],
        )


def squad(path: Path, random_: random.Random) -> list[Any]:
    instructions = (
        "Represent the Wikipedia question for retrieving supporting documents: ",
        "Represent the Wikipedia document for retrieval: ",
    )
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    pairs = [(qa["question"], p["context"]) for p in paragraphs for qa in p["qas"]]
    return [
        medi_row(
            i,
            (instructions[0], question),
            (instructions[1], context),
            [random_.choice(paragraphs)["context"]],
        )
        for i, (question, context) in enumerate(pairs)
    ]


@pytest.fixture(scope="module")
def mix(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, TokenTable]:
    """The tokens of all rows."""
    folder = real_data.parent / "models" / "t5-tokenizer"
    sources = (real_data / "train/superni", real_data / "train/squad_xquad/xquad.en.json")
    for path in (folder, *sources):
        if not path.exists():
            pytest.skip(f"no {path} (set MEDI_REAL_DATA)")
    random_ = random.Random(0)
    medi = tmp_path_factory.mktemp("mix")
    for name, rows in superni(sources[0], random_):
        write_shard(medi, name, rows)
    write_shard(medi, "squad_pairs", squad(sources[1], random_))
    tokeniser = Tokeniser(AutoTokenizer.from_pretrained(folder), 512)
    tables = {}
    for name in datasets_of(medi):
        tokens = tmp_path_factory.mktemp("tokens")
        write_tokens(medi, name, tokeniser, TrainingOptions(), tokens)
        tables[name] = TokenTable(tokens, name)
    return tables


def shuffled(tables: dict[str, TokenTable]) -> list[Indices]:
    """Lengths [B, 3] of one-dataset batches of random rows, as sentence-transformers has them."""
    random_ = np.random.default_rng(0)
    return [
        table.lengths_RS[rows]
        for table in tables.values()
        for rows in np.array_split(random_.permutation(len(table)), -(-len(table) // 64))
    ]


@pytest.mark.real
def test_little_of_a_real_mix_is_padding(mix: dict[str, TokenTable], tmp_path: Path) -> None:
    batches = shuffled(mix)
    tokens = sum(int(lengths_BS.sum()) for lengths_BS in batches)
    sides = sum(int(lengths_BS.max(axis=0).sum()) * len(lengths_BS) for lengths_BS in batches)
    padded = sum(lengths_BS.size * 512 for lengths_BS in batches)
    print(f"\n{sum(map(len, mix.values()))} rows, {len(mix)} datasets, {len(batches)} batches")
    print(f"random batches, all texts padded to 512:          {tokens / padded:.3f}")
    print(f"random batches, each side padded to its longest:  {tokens / sides:.3f}")
    plain = TrainingOptions(steps=len(batches), bucket_batches=1)
    for name, options, world_size in [
        ("random batches in chunks", plain, 1),
        ("the plan", TrainingOptions(steps=len(batches)), 1),
        ("the plan, 8 devices", TrainingOptions(steps=len(batches) // 8), 8),
        ("the plan, 16 rows a batch", TrainingOptions(steps=len(batches), batch_rows=16), 1),
        ("the plan, 16,384 tokens a device", TrainingOptions(steps=500, batch_tokens=16_384), 1),
    ]:
        counts = write_plan(mix, options, world_size, tmp_path)
        print(f"{name + ':':<49} {counts['padding_efficiency']:.3f}")
        if name == "the plan":
            assert counts["padding_efficiency"] >= 0.95
            assert counts["rows"] == sum(map(len, mix.values()))
            assert Plan(tmp_path).steps == len(batches)
