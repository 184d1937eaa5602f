"""What the profile `paper` reads, computes, keeps and sends, from counts and assumptions.

Bytes, hours and requests of benchmarks.paper_arithmetic, which prints them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import T5Config, T5EncoderModel

from evaluation.catalog import select
from evaluation.records import EvalTask
from flows.profiles import get_profile
from medi_sources.catalog import load_catalog
from medi_sources.records import Source
from training.encoder import Encoder, flops_per_token
from training.estimate import training_flops

DIMENSION = 768
# Of a token in T5-large under bf16, as training.estimate.activation_bytes measures it.
ACTIVATION_BYTES = 1_647_324


@dataclass(frozen=True)
class Assumption:
    """`value` is what the arithmetic takes, in `unit`."""

    value: float
    unit: str
    what: str


ASSUMED = {
    "bf16": Assumption(989, "TFLOP/s", "an H100 SXM's dense peak; mining and training"),
    "fp32": Assumption(67, "TFLOP/s", "the same outside its tensor cores; evaluation is fp32"),
    "utilisation": Assumption(0.35, "of the peak", "of matrix products, padding counted as work"),
    "padding": Assumption(0.97, "real tokens", "of those computed; measured, docs/training.md"),
    "characters": Assumption(4.2, "characters", "a token of T5's vocabulary, English"),
    "short": Assumption(20, "tokens", "a query, and any text of a symmetric pair set"),
    "long": Assumption(130, "tokens", "a document, cut at 256"),
    "superni": Assumption(110, "tokens", "an input of Super-NI; its outputs are left out"),
    "instruction": Assumption(18, "tokens", "in front of each text in training and evaluation"),
    "native": Assumption(8, "negatives", "of a row that comes with some: at most 8 are read"),
    "line": Assumption(300, "bytes", "a line of a packed pair file"),
    "kilt": Assumption(12_000, "bytes", "a question of a packed KILT file, with its 100 passages"),
    "instance": Assumption(700, "bytes", "an instance of a Super-NI file"),
    "windows": Assumption(3, "windows", "read of a giant file: 1 to 5, by the seed"),
    "packed": Assumption(0.4, "of the text", "packed, in Parquet or on its way"),
    "hub": Assumption(8, "requests", "a dataset or model of the Hub, as its libraries load it"),
    "inside": Assumption(300, "GB/s", "all-reduce within a machine of 8 GPUs"),
    "between": Assumption(25, "GB/s", "all-reduce between machines, a GPU"),
}


def a(name: str) -> float:
    return ASSUMED[name].value


@cache
def encoder() -> Encoder:
    """T5-large's, of which GTR-large and Sentence-T5-large are made; without weights."""
    shape = T5Config(d_model=1024, d_kv=64, d_ff=4096, num_layers=24, num_heads=16)
    with torch.device("meta"):
        return Encoder(T5EncoderModel(shape), [])


@cache
def parameters() -> int:
    return sum(weight.numel() for weight in encoder().parameters())


@dataclass(frozen=True)
class Encoding:
    """Texts of one source, and the tokens of each, that one encoder is to encode."""

    source: str
    texts: float
    length: float

    @property
    def flops(self) -> float:
        return self.texts * self.length / a("padding") * flops_per_token(encoder(), self.length)


@cache
def sources() -> tuple[Source, ...]:
    catalog = load_catalog()
    return tuple(catalog[name] for name in get_profile("paper").build.datasets)


def encodings() -> list[Encoding]:
    """By Sentence-T5 all inputs of Super-NI, for pairs; by GTR the texts of the pairs of all."""
    found = []
    for source in sources():
        if source.reader.layout == "superni":
            found.append(Encoding(source.name, float(source.upstream_rows or 0), a("superni")))
            kept = get_profile("paper").build.mining.negatives
            texts = min(source.rows * (2 + kept), source.upstream_rows or source.rows)
            found.append(Encoding(source.name, float(texts), a("superni")))
            continue
        document = a("short") if source.symmetric else a("long")
        documents = source.rows * (1 + _native(source))
        found.append(Encoding(source.name, float(source.rows), a("short")))
        found.append(Encoding(source.name, float(documents), document))
    return found


def _native(source: Source) -> float:
    """Negatives of a row that its source has."""
    if source.reader.layout == "kilt_dpr" or source.name == "msmarco":
        return a("native")
    return 1.0 if source.symmetric and getattr(source.reader, "neg", None) is not None else 0.0


def mining_hours(gpus: int) -> float:
    """With a dataset a GPU (Ray), and never less than the largest one takes."""
    of: dict[str, float] = {}
    for each in encodings():
        of[each.source] = of.get(each.source, 0.0) + each.flops
    return max(sum(of.values()) / gpus, max(of.values())) / _rate("bf16") / 3600


def _rate(precision: str) -> float:
    return a(precision) * 1e12 * a("utilisation")


@dataclass(frozen=True)
class Training:
    """Of the profile's steps; `rows` a device and step."""

    gpus: int
    rows: float

    @property
    def steps(self) -> int:
        return get_profile("paper").train.options.steps

    @property
    def tokens_a_step(self) -> float:
        """Of one device, padding counted: queries, positives and negatives."""
        options = get_profile("paper").train.options
        texts = 1 + options.negatives
        total = sum(s.rows for s in sources())
        tokens = sum(s.rows * (q + texts * d) for s in sources() for q, d in [_lengths(s)]) / total
        return self.rows * tokens / a("padding")

    @property
    def flops(self) -> float:
        """Of one device, all steps."""
        options = get_profile("paper").train.options
        counts: dict[str, Any] = {
            "rows": self.rows * self.steps,
            "tokens": self.tokens_a_step * a("padding") * self.steps,
            "computed_tokens": self.tokens_a_step * self.steps,
        }
        return training_flops(encoder(), counts, options)

    @property
    def reduced_bytes(self) -> float:
        """That a device sends in a step: a ring all-reduce of fp32 gradients."""
        return 2 * (self.gpus - 1) / self.gpus * 4 * parameters()

    @property
    def hours(self) -> float:
        """Compute, and after it communication: none of it is hidden."""
        speed = a("inside" if self.gpus <= 8 else "between") * 1e9
        return (self.flops / _rate("bf16") + self.steps * self.reduced_bytes / speed) / 3600

    @property
    def memory(self) -> float:
        """Bytes of a device under ZeRO 0: weights, gradients, two moments, one step's graph."""
        return 16 * parameters() + self.tokens_a_step * ACTIVATION_BYTES


def _lengths(source: Source) -> tuple[float, float]:
    """Tokens of a query and of a document, with their instructions."""
    if source.reader.layout == "superni":
        query = document = a("superni")
    else:
        query, document = a("short"), a("short") if source.symmetric else a("long")
    return query + a("instruction"), document + a("instruction")


@cache
def tasks() -> tuple[EvalTask, ...]:
    return tuple(select(get_profile("paper").evaluate.tasks))


def evaluation_hours(gpus: int) -> float:
    """Of the model and of the one it was trained from; a task is one GPU's.

    Texts that several tasks share are counted for each. A language model's answers are left out.
    """
    tokens = [task.characters / a("characters") / a("padding") for task in tasks()]
    most = max(2 * sum(tokens) / gpus, max(tokens))
    return most * flops_per_token(encoder(), 200) / _rate("fp32") / 3600


@cache
def retrieved_texts() -> int:
    """Queries and documents of the retrieval tasks, by mteb's descriptive statistics."""
    found = find_spec("mteb")
    assert found is not None and found.origin is not None
    folder = Path(found.origin).parent / "descriptive_stats" / "Retrieval"
    names = [task.name for task in tasks() if task.category == "Retrieval"]
    files = [path for name in names for path in _statistics(folder, name)]
    return sum(
        max(split["num_samples"] for split in json.loads(path.read_bytes()).values())
        for path in files
    )


def _statistics(folder: Path, name: str) -> list[Path]:
    """One file a task; CQADupstack's is a file a forum."""
    one = folder / f"{name}.json"
    parts = folder.glob(f"{name.removesuffix('Retrieval')}*Retrieval.json")
    return [one] if one.is_file() else sorted(parts)


def source_bytes() -> float:
    """What fetching receives: whole files, but of a giant one so many windows."""
    total = 0.0
    for source in sources():
        layout, lines = source.reader.layout, float(source.upstream_rows or source.rows)
        if source.window:
            lines = min(lines, a("windows") * source.window)
        kind = {"superni": "instance", "kilt_dpr": "kilt"}.get(layout, "line")
        total += lines * a(kind)
    return total


def text_bytes() -> float:
    """Of the texts of all rows, negatives included, unpacked."""
    negatives = get_profile("paper").build.mining.negatives
    tokens = sum(s.rows * (q + (1 + negatives) * d) for s in sources() for q, d in [_lengths(s)])
    return tokens * a("characters")


def requests() -> dict[str, int]:
    """By whom they are made; a range that is asked for again is not counted."""
    files = dict.fromkeys(("hub", "github", "https"), 0)
    for source in sources():
        files[source.location.kind] += len(source.location.files)
    repositories = sum(len(task.mteb or {}) for task in tasks())
    return {
        "Hub, sources": 2 * files["hub"],
        "Hub, evaluation": int(a("hub")) * repositories,
        "Hub, models": int(a("hub")) * 3,
        "GitHub": 2 * files["github"],
        "other hosts": 2 * files["https"],
    }


def disk() -> dict[str, float]:
    """Bytes, by what holds them."""
    texts = sum(each.texts for each in encodings())
    options = get_profile("paper").train.options
    characters = sum(task.characters for task in tasks())
    return {
        "store: fetched files": source_bytes(),
        "store: embeddings for mining, fp16": texts * DIMENSION * 2,
        "store: pairs, mined, shards": 3 * text_bytes() * a("packed"),
        "store: tokens, 16 bits": text_bytes() / a("characters") * 2,
        "store: checkpoints and model": (12 * (options.keep_checkpoints + 1) + 4) * parameters(),
        "store: vectors of two models' evaluation, fp32": 2 * retrieved_texts() * DIMENSION * 4,
        "Hub's cache: evaluation data, packed and mapped": characters * (1 + a("packed")),
    }
