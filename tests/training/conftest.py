"""Tiny random encoders, a small MEDI folder of invented text, and a training in this process."""

from __future__ import annotations

import math
import random
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import (
    Dense,
    Normalize,
    Pooling,
    Transformer,
)
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

from artifacts.row import MEDI
from training.data import load_rows
from training.encoder import Encoder, encoder_of, load_parts, tokeniser_of
from training.loss import released_loss
from training.options import TrainingJob, TrainingOptions
from training.plan import plan_batches
from training.tokens import Tokeniser

torch.set_num_threads(1)

KEYS = [a + b for a in ("ba", "co", "di", "fu", "ge", "ha") for b in ("ran", "tel", "sop", "nik")]
FILLERS = [a + b for a in ("ne", "or", "pa", "qui") for b in ("dal", "mes", "vit")]


def _text(random_: random.Random, key: str, length: int) -> str:
    words = [random_.choice(FILLERS) for _ in range(length)]
    words.insert(random_.randrange(length + 1), key)
    return " ".join(words)


def _row(dataset: str, row_id: int, random_: random.Random) -> dict[str, Any]:
    key, other = random_.sample(KEYS, 2)  # query and positive share a key word
    return {
        "dataset": dataset,
        "row_id": row_id,
        "query_instruction": f"Represent the {dataset} question for retrieval: ",
        "query": _text(random_, key, 2),
        "doc_instruction": f"Represent the {dataset} document for retrieval: ",
        "pos": _text(random_, key, 5),
        "neg": [_text(random_, other, 5)],
        "pos_score": None,
        "neg_score": None,
        "negatives": "mined",
    }


@pytest.fixture(scope="session")
def write_medi() -> Callable[..., Path]:
    """write(folder, {dataset: rows}): a published MEDI folder, one shard a dataset."""

    def write(folder: Path, sizes: dict[str, int]) -> Path:
        for dataset, size in sizes.items():
            random_ = random.Random(dataset)
            rows = [_row(dataset, row_id, random_) for row_id in range(size)]
            path = folder / "data" / dataset / "train-00000-of-00001.parquet"
            path.parent.mkdir(parents=True)
            pq.write_table(pa.Table.from_pylist(rows, schema=MEDI), path)
        return folder

    return write


@pytest.fixture(scope="session")
def medi(tmp_path_factory: pytest.TempPathFactory, write_medi: Callable[..., Path]) -> Path:
    return write_medi(tmp_path_factory.mktemp("medi"), {"alpha": 40, "beta": 21})


def _sentences() -> list[str]:
    random_ = random.Random(0)
    rows = [_row(name, i, random_) for name in ("alpha", "beta") for i in range(200)]
    return [row["query_instruction"] + row["query"] for row in rows] + [
        row["doc_instruction"] + row["pos"] for row in rows
    ]


def _save(folder: Path, model: Any, tokenizer: PreTrainedTokenizerFast, dense: list[Dense]) -> str:
    model.save_pretrained(folder / "hf")
    tokenizer.save_pretrained(folder / "hf")
    transformer = Transformer(str(folder / "hf"))
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    parts = SentenceTransformer(modules=[transformer, pooling, *dense, Normalize()], device="cpu")
    parts.save_pretrained(str(folder / "st"), create_model_card=False)
    return str(folder / "st")


@pytest.fixture(scope="session")
def tiny_t5(tmp_path_factory: pytest.TempPathFactory) -> str:
    """GTR in small: T5 encoder, mean pooling, Dense without bias, L2 norm; no dropout."""
    tokenizer = Tokenizer(models.Unigram())
    # As T5's own: the space at the end of an instruction belongs to the next word.
    tokenizer.normalizer = normalizers.Strip(left=False, right=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(
        _sentences(),
        trainers.UnigramTrainer(vocab_size=120, special_tokens=special, unk_token="<unk>"),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(fast), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0
    )
    dense = Dense(16, 12, bias=False, activation_function=torch.nn.Identity())
    return _save(tmp_path_factory.mktemp("t5"), T5EncoderModel(config), fast, [dense])


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A MiniLM in small, its weights stored in fp16 and its reach 48 tokens."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(
        _sentences(), trainers.WordPieceTrainer(vocab_size=150, special_tokens=special)
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(["pad", "unk", "cls", "sep", "mask"], special, strict=True))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name}_token": text for name, text in names.items()}
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(fast),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
    )
    return _save(tmp_path_factory.mktemp("bert"), BertModel(config).half(), fast, [])


@pytest.fixture
def job(tmp_path: Path, medi: Path, tiny_t5: str) -> Callable[..., TrainingJob]:
    """job("name", steps=..., ...): a small CPU job with a folder of its own."""

    def make(name: str = "run", **given: Any) -> TrainingJob:
        options = {"steps": 6, "batch_rows": 8, "learning_rate": 1e-3, "log_every": 1}
        return TrainingJob(
            medi=given.pop("medi", medi),
            encoder=given.pop("encoder", tiny_t5),
            called=given.pop("called", None),
            out=tmp_path / name / "model",
            work=tmp_path / name / "work",
            options=TrainingOptions(**{**options, "device": "cpu", **given}),
        )

    return make


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed settles its device at its first import, which therefore waits for this."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


@pytest.fixture
def run_here(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[TrainingJob], TrainingJob]:
    """Runs a job in this process, as the launcher's one process would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    one = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_SIZE": "1"}
    for name, value in {**one, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)

    def run(job: TrainingJob) -> TrainingJob:
        from training.loop import run as run_job

        job.work.mkdir(parents=True)
        run_job(job)
        return job

    return run


@pytest.fixture
def plain_weights(on_cpu: None) -> Callable[[TrainingJob, int], dict[str, torch.Tensor]]:
    """weights(job, world_size): what torch alone makes of the job, the devices one by one."""

    def train(job: TrainingJob, world_size: int) -> dict[str, torch.Tensor]:
        parts = load_parts(job.encoder, job.options.max_length)
        encoder = encoder_of(parts).train()
        _plain_steps(encoder, tokeniser_of(parts), job, world_size)
        weights = {name: w.detach() for name, w in encoder.transformer.named_parameters()}
        return weights | {"dense": encoder.dense[0].linear.weight.detach()}

    return train


def _plain_steps(encoder: Encoder, tokeniser: Tokeniser, job: TrainingJob, world_size: int) -> None:
    from training.loop import tokenise

    options, rows = job.options, load_rows(job.medi)
    sizes = {name: table.num_rows for name, table in rows.items()}
    plan = plan_batches(sizes, options.batch_rows, world_size, options.steps, options.seed)
    matrices = [w for w in encoder.parameters() if w.ndim > 1]
    vectors = [w for w in encoder.parameters() if w.ndim == 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": options.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
    )
    warmup = math.ceil(options.steps * options.warmup_ratio)
    for step, planned in enumerate(plan):
        factor = min((step + 1) / warmup, (options.steps - step) / (options.steps - warmup))
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * factor
        optimizer.zero_grad()
        for rank in range(world_size):
            share = rows[planned.dataset].take(planned.rows[rank::world_size]).to_pydict()
            q, p, n = (encoder(*batch) for batch in tokenise(tokeniser, share, 1))
            loss = released_loss(q, p, n.unsqueeze(1), options.temperature)
            (loss / world_size).backward()
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), options.gradient_clipping)
        optimizer.step()
