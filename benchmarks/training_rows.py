"""What the trainers train on: a MEDI folder of real rows or of the sample world, and an encoder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from annotations.load import FOLDER as ANNOTATIONS
from annotations.load import load_annotation
from annotations.render import instructions
from artifacts.row import MEDI
from artifacts.store import MANIFEST, file_entry
from benchmarks.measure import Figures
from benchmarks.mining_rows import write_sample_encoder
from medi_sources.catalog import load_catalog
from medi_sources.sample import write_sample

Triple = tuple[str, str, str]  # query, positive, hard negative
Group = list[Triple]

QUESTIONS = "squad_pairs"
QUESTION_SHARE = 5  # one row in so many is a question about a paragraph
BATCHES_A_TASK = 4

# T5's published sizes (d_model, d_ff, layers, heads, d_kv), mini of t5-efficient; tiny is none.
SHAPES = {
    "tiny": (32, 64, 1, 2, 16),
    "mini": (384, 1536, 4, 8, 64),
    "small": (512, 2048, 6, 8, 64),
    "base": (768, 3072, 12, 12, 64),
    "large": (1024, 4096, 24, 16, 64),
    "xl": (2048, 16384, 24, 32, 64),
}


def write_medi(folder: Path, data: Path, rows: int, batch_rows: int) -> Figures:
    """A published MEDI folder of about `rows` rows, fewer where there are fewer texts.

    A fifth of them SQuAD, the rest tasks of Super-NaturalInstructions, of every length alike and
    `BATCHES_A_TASK` batches each: what they have the sample world's datasets have where there is
    no real data. The instructions are MEDI's.
    """
    questions, tasks = rows // QUESTION_SHARE, rows - rows // QUESTION_SHARE
    count, each = max(1, tasks // (batch_rows * BATCHES_A_TASK)), batch_rows * BATCHES_A_TASK
    if (data / "train").is_dir():
        source = "SQuAD and Super-NaturalInstructions"
        groups = {QUESTIONS: _questions(data / "train", questions)}
        groups |= _tasks(data / "train" / "superni" / "tasks", count, min(each, tasks))
    else:
        source, groups = "sample world", _sample(count + 1, rows // (count + 1))
    written = {name: _write(folder, name, group) for name, group in sorted(groups.items())}
    manifest = {"format": 1, "build": {"key": "benchmark"}, "datasets": written}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    sizes = [line["rows"] for line in written.values()]
    return {"source": source, "rows": sum(sizes), "datasets": len(sizes)}


def read_medi(folder: Path) -> dict[str, dict[str, list[Any]]]:
    """Dataset -> its columns, as a trainer without tokens of its own reads them."""
    paths = sorted(folder.glob("data/*/*.parquet"))
    return {path.parent.name: pq.read_table(path).to_pydict() for path in paths}


def write_encoder(work: Path, tokenizer: Path, shape: str) -> Path:
    """`work`/encoder: random weights in GTR's layout, T5, mean, Dense to 768 and L2 norm."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import (
        Dense,
        Normalize,
        Pooling,
        Transformer,
    )
    from transformers import AutoTokenizer, T5Config, T5EncoderModel

    words = AutoTokenizer.from_pretrained(str(tokenizer))
    width, forward, layers, heads, head_width = SHAPES[shape]
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=-(-len(words) // 128) * 128,
        d_model=width,
        d_ff=forward,
        num_layers=layers,
        num_heads=heads,
        d_kv=head_width,
    )
    T5EncoderModel(config).save_pretrained(work / "transformer")
    words.save_pretrained(work / "transformer")
    modules = [
        Transformer(str(work / "transformer"), max_seq_length=512),
        Pooling(width, "mean", include_prompt=False),
        Dense(width, 768, bias=False, activation_function=torch.nn.Identity()),
        Normalize(),
    ]
    model = SentenceTransformer(modules=modules, device="cpu")
    model.save_pretrained(str(work / "encoder"), create_model_card=False)
    return work / "encoder"


def tokenizer_at_hand(work: Path, data: Path) -> Path:
    """The real T5 vocabulary where it is, else the sample world's."""
    real = data.parent / "models" / "t5-tokenizer"
    return real if real.is_dir() else write_sample_encoder(work / "sample")


def _write(folder: Path, dataset: str, group: Group) -> Figures:
    query_instruction, doc_instruction = instructions(load_annotation(dataset))
    rows = [
        {
            "dataset": dataset,
            "row_id": row_id,
            "query_instruction": query_instruction,
            "query": query,
            "doc_instruction": doc_instruction,
            "pos": positive,
            "neg": [negative],
            "negatives": "mined",
        }
        for row_id, (query, positive, negative) in enumerate(group)
    ]
    path = folder / "data" / dataset / "train-00000-of-00001.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=MEDI), path)
    name = path.relative_to(folder).as_posix()
    return {"rows": len(rows), "files": {name: file_entry(path).model_dump()}}


def _questions(train: Path, count: int) -> Group:
    """A question, its paragraph, another paragraph of the same article."""
    path = train / "squad_xquad" / "xquad.en.json"
    told: Group = []
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        texts = [paragraph["context"] for paragraph in article["paragraphs"]]
        for paragraph, other in zip(article["paragraphs"], [*texts[1:], *texts[:1]], strict=True):
            told += [(qa["question"], paragraph["context"], other) for qa in paragraph["qas"]]
    return _drawn(told, count)


def _tasks(folder: Path, count: int, each: int) -> dict[str, Group]:
    """Tasks at equal distances in the order of their texts' length."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        if (ANNOTATIONS / f"{path.stem}.yaml").is_file():
            found[path.stem] = json.loads(path.read_text(encoding="utf-8"))["Instances"]
    order = sorted(found, key=lambda name: _mean(len(each["input"]) for each in found[name]))
    count = min(count, len(order))
    chosen = [order[(2 * i + 1) * len(order) // (2 * count)] for i in range(count)]
    return {name: _drawn(_task(found[name]), each) for name in chosen}


def _task(instances: Sequence[dict[str, Any]]) -> Group:
    """An input, one of the same output (else the next one), one of another output."""
    told: Group = []
    for i, instance in enumerate(instances):
        others = [*instances[i + 1 :], *instances[:i]]
        same = [other["output"] == instance["output"] for other in others]
        if all(same):
            continue
        positive = others[same.index(True) if any(same) else 0]
        later = others[1:] + others[:1] if not any(same) else others
        negative = next(other for other in later if other["output"] != instance["output"])
        told.append((instance["input"], positive["input"], negative["input"]))
    return told


def _sample(count: int, each: int) -> dict[str, Group]:
    """The first datasets of the catalog, every negative the answer to another query."""
    sources = list(islice(load_catalog().values(), count))
    groups = {}
    with tempfile.TemporaryDirectory() as folder:
        write_sample(sources, Path(folder), rows=max(48, each))
        for source in sources:
            text = (Path(folder) / "truth" / f"{source.name}.jsonl").read_text(encoding="utf-8")
            groups[source.name] = _drawn(_told([json.loads(x) for x in text.splitlines()]), each)
    return groups


def _told(truths: Sequence[dict[str, Any]]) -> Group:
    """A query, the first of its answers, the first answer of a later query that is none."""
    answered = [truth for truth in truths if truth["answers"]]
    told: Group = []
    for i, truth in enumerate(answered):
        right = {truth["query"], *truth["answers"]}
        later = (other["answers"][0] for other in [*answered[i + 1 :], *answered[:i]])
        negative = next((text for text in later if text not in right), None)
        if negative is not None:
            told.append((truth["query"], truth["answers"][0], negative))
    return told


def _drawn(group: Group, count: int) -> Group:
    return Random(0).sample(group, min(count, len(group)))


def _mean(numbers: Iterable[int]) -> float:
    told = list(numbers)
    return sum(told) / len(told)
