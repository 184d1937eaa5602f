"""Instructions, texts and a tokenizer that are awkward to tokenise apart, and rows of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from artifacts.keys import sha256_file
from artifacts.row import MEDI

SHARD = "train-00000-of-00001.parquet"
INSTRUCTIONS = [
    "Represent the alpha question for retrieval: ",  # as MEDI writes them
    "Represent the alpha question for retrieval:",
    "Represent the alpha question; ",
    "Represent the alp",
    " ",
    "",
    "Represent the alpha question for retrieval: " * 9,  # longer than 40 tokens
]
TEXTS = ["baran", "codal dimes", "", "  two  spaces ", "unseen Ürtext (42)", "qui paves " * 60]


@cache
def byte_level() -> PreTrainedTokenizerFast:
    """As of GPT-2: a space belongs to the next word, nothing special stands around a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator([a + b for a in INSTRUCTIONS for b in TEXTS], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


def medi_row(row_id: int, query: tuple[str, str], pos: tuple[str, str], neg: Sequence[str]) -> Any:
    """(instruction, text) of query and positive; the negatives have the positive's instruction."""
    return {
        "dataset": "odd",
        "row_id": row_id,
        "query_instruction": query[0],
        "query": query[1],
        "doc_instruction": pos[0],
        "pos": pos[1],
        "neg": list(neg),
        "negatives": "mined",
    }


def write_shard(medi: Path, dataset: str, rows: Sequence[Any]) -> Path:
    """The MEDI folder, with one dataset more."""
    folder = medi / "data" / dataset
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=MEDI), folder / SHARD)
    return medi


def write_manifest(medi: Path, **given: Any) -> None:
    """manifest.json of what is in the folder, as a build writes it."""
    datasets = {
        folder.name: {
            "files": {
                f"data/{folder.name}/{path.name}": {"sha256": sha256_file(path), "size": 1}
                for path in folder.glob("*.parquet")
            }
        }
        for folder in (medi / "data").iterdir()
    }
    record = {"format": 1, "build": {"key": "4fd1"}, "datasets": datasets, **given}
    (medi / "manifest.json").write_text(json.dumps(record), encoding="utf-8")
