"""Tiny random encoders, a small MEDI folder of invented text, and a training in this process."""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
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
from artifacts.store import Store
from tests.training_plain import Numbers, Weights, plain_steps
from tests.training_runs import free_port
from training.encoder import encoder_of, load_parts
from training.options import TrainingJob, TrainingOptions
from training.prepare import prepare

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


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Of tokens and plans: jobs that need the same share them."""
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def job(tmp_path: Path, medi: Path, tiny_t5: str, store: Store) -> Callable[..., TrainingJob]:
    """job("name", steps=..., ...): a small CPU job with a folder of its own, tokens and plan."""

    def make(name: str = "run", **given: Any) -> TrainingJob:
        source = given.pop("medi", medi)
        encoder = given.pop("encoder", tiny_t5)
        called = given.pop("called", None)
        small = {"steps": 6, "batch_rows": 8, "learning_rate": 1e-3, "log_every": 1}
        options = TrainingOptions(**{**small, "device": "cpu", **given})
        tokens, plan = prepare(source, encoder, options, store, options.processes or 1)
        return TrainingJob(
            medi=source,
            tokens=tokens,
            plan=plan,
            encoder=encoder,
            called=called,
            out=tmp_path / name / "model",
            work=tmp_path / name / "work",
            options=options,
        )

    return make


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """DeepSpeed settles its device at its first import, which therefore waits for this."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")


@pytest.fixture
def one_rank(on_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the launcher tells its one process."""
    port = str(free_port())
    one = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_SIZE": "1"}
    for name, value in {**one, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def server() -> ForkServerContext:
    """Starts processes that have torch and DeepSpeed imported already, in no time."""
    slow_to_import = "deepspeed.runtime.zero.muon.muon_optimizer"  # by every ZeRO
    before = os.environ.get("DS_ACCELERATOR")
    os.environ["DS_ACCELERATOR"] = "cpu"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.loop", "tests.training_runs", slow_to_import])
    first = context.Process(target=int)
    first.start()
    first.join()
    if before is None:
        del os.environ["DS_ACCELERATOR"]
    return context


@pytest.fixture
def run_here(
    one_rank: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[TrainingJob], TrainingJob]]:
    """Runs a job in this process, as the launcher's one process would."""
    # ZeRO 3 puts a function of its own there, for good.
    monkeypatch.setattr(torch.nn.functional, "linear", torch.nn.functional.linear)

    def run(job: TrainingJob) -> TrainingJob:
        from training.loop import run as run_job

        job.work.mkdir(parents=True, exist_ok=True)
        monkeypatch.setenv("MASTER_PORT", str(free_port()))  # each launch has another
        run_job(job)
        return job

    yield run
    if torch.distributed.is_initialized():  # a run that failed
        from training.engine import leave_processes

        leave_processes()


@pytest.fixture
def plain_run(on_cpu: None) -> Callable[[TrainingJob], tuple[Weights, Numbers]]:
    """What torch alone makes of the job, and loss and gradient norm of every step."""

    def train(job: TrainingJob) -> tuple[Weights, Numbers]:
        encoder = encoder_of(load_parts(job.encoder, job.options.max_length)).train()
        numbers = plain_steps(encoder, job)
        return dict(encoder.named_parameters()), numbers

    return train


@pytest.fixture
def plain_weights(
    plain_run: Callable[[TrainingJob], tuple[Weights, Numbers]],
) -> Callable[[TrainingJob], Weights]:
    return lambda job: plain_run(job)[0]


@pytest.fixture
def stopped(
    job: Callable[..., TrainingJob], one_rank: None, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., TrainingJob]:
    """stopped(at, **options): a job that has been stopped in step `at`."""

    def make(at: int, **given: Any) -> TrainingJob:
        from training import loop

        original, calls = loop.apply_step, iter(range(at - 1))

        def apply_step(*given: Any) -> tuple[float, float]:
            if next(calls, None) is None:
                raise KeyboardInterrupt
            return original(*given)

        stopped = job(**{"steps": 6, "checkpoint_every": 2, **given})
        stopped.work.mkdir(parents=True)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "apply_step", apply_step)
            loop.run(stopped)
        loop.leave_processes()
        return stopped

    return make
