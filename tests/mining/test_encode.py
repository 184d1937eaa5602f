"""Encoding with tiny random models built on the spot: transformer, T5 and static embeddings."""

from __future__ import annotations

import gc
import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

import mining.encode
from artifacts.errors import DatasetError, InputError
from mining.encode import SentenceEncoder, load_encoder
from mining.options import EncoderOptions

_WORDS = ["the", "a", "otter", "badger", "bee", "river", "swims", "sings", "digs", "fast", "blue"]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def tokenizer() -> Tokenizer:
    words = {word: i for i, word in enumerate([*_SPECIAL, *_WORDS])}
    made = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def save(backbone: torch.nn.Module, folder: Path, **model_fields: Any) -> Path:
    """A sentence-transformers folder: backbone and mean pooling."""
    backbone.save_pretrained(folder / "backbone")  # type: ignore[operator]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer(),
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(folder / "backbone")
    first = Transformer(str(folder / "backbone"))
    modules = [first, Pooling(first.get_embedding_dimension())]
    SentenceTransformer(modules=modules, device="cpu", **model_fields).save(str(folder / "model"))
    return folder / "model"


def bert() -> BertModel:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}
    return BertModel(
        BertConfig(vocab_size=32, num_hidden_layers=2, max_position_embeddings=64, **shape)
    ).eval()


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(bert(), tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def static_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("static")
    weights = np.random.default_rng(0).normal(size=(32, 12)).astype(np.float32)
    weights[4 + _WORDS.index("blue")] = np.nan
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer(), weights)], device="cpu")
    model.save(str(folder))
    return folder


def on_cpu(**fields: Any) -> EncoderOptions:
    return EncoderOptions(**{"device": "cpu", **fields})


def sentences(count: int) -> list[str]:
    draw = np.random.default_rng(1)
    return [" ".join(draw.choice(_WORDS[:-1], size=draw.integers(1, 30))) for _ in range(count)]


@pytest.mark.parametrize("folder", ["bert_folder", "static_folder"])
def test_vectors_are_those_of_sentence_transformers(
    folder: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(folder)
    texts = sentences(40)
    texts += texts[:7]
    vectors = SentenceEncoder(path, on_cpu(batch_tokens=200))(texts)
    peer = SentenceTransformer(str(path), device="cpu").encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(vectors, peer, atol=2e-6)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_vector_does_not_depend_on_its_company(bert_folder: Path) -> None:
    texts = sentences(30)
    together = SentenceEncoder(bert_folder, on_cpu())(texts)
    one_at_a_time = SentenceEncoder(bert_folder, on_cpu(batch_tokens=1))
    alone = np.concatenate([one_at_a_time([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_batches_stay_within_the_token_budget(
    bert_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch counted without its padding or its prompt runs out of GPU memory."""
    shapes: list[torch.Size] = []
    forward = SentenceTransformer.forward

    def spy(self: SentenceTransformer, features: dict[str, Any], **fields: Any) -> Any:
        shapes.append(features["input_ids"].shape)
        return forward(self, features, **fields)

    monkeypatch.setattr(SentenceTransformer, "forward", spy)
    encoder = SentenceEncoder(bert_folder, on_cpu(batch_tokens=100, prompt="the a the a "))
    encoder(sentences(50) * 2)
    assert sum(shape[0] for shape in shapes) == 50
    assert all(shape[0] * shape[1] <= 100 or shape[0] == 1 for shape in shapes)
    assert len(shapes) < 40


@pytest.mark.parametrize("folder", ["bert_folder", "static_folder"])
def test_max_tokens_cuts_the_text(folder: str, request: pytest.FixtureRequest) -> None:
    start = "the otter swims a river the a the a"
    texts = [start + " bee", start + " badger sings"]
    path = request.getfixturevalue(folder)
    cut = SentenceEncoder(path, on_cpu(max_tokens=8))(texts)
    whole = SentenceEncoder(path, on_cpu(max_tokens=None))(texts)
    np.testing.assert_array_equal(cut[0], cut[1])
    assert np.abs(whole[0] - whole[1]).max() > 1e-3


def test_max_tokens_never_exceeds_what_the_model_can_hold(bert_folder: Path) -> None:
    long = " ".join(["otter"] * 300)
    assert np.isfinite(SentenceEncoder(bert_folder, on_cpu(max_tokens=256))([long])).all()


def test_the_prompt_stands_before_every_text(tmp_path: Path, bert_folder: Path) -> None:
    texts = sentences(5)
    prompted = SentenceEncoder(bert_folder, on_cpu(prompt="a bee "))(texts)
    by_hand = SentenceEncoder(bert_folder, on_cpu())(["a bee " + text for text in texts])
    np.testing.assert_allclose(prompted, by_hand, atol=2e-6)
    fields = {"prompts": {"query": "a bee "}, "default_prompt_name": "query"}
    with_default = SentenceEncoder(save(bert(), tmp_path, **fields), on_cpu())(texts)
    plain = SentenceEncoder(bert_folder, on_cpu())(texts)
    np.testing.assert_allclose(with_default, plain, atol=2e-6)


def test_half_weights_are_computed_in_fp32_on_a_cpu(tmp_path: Path) -> None:
    folder = save(bert().half(), tmp_path)
    texts = sentences(8)
    for precision in ("fp32", "fp16"):
        encoder = SentenceEncoder(folder, on_cpu(precision=precision))
        assert encoder.precision == "fp32"
        peer = SentenceTransformer(str(folder), device="cpu").to(torch.float32)
        expected = peer.encode(texts, normalize_embeddings=True)
        np.testing.assert_allclose(encoder(texts), expected, atol=2e-6)


def test_bf16_is_near_fp32_and_still_of_length_one(bert_folder: Path) -> None:
    texts = sentences(8)
    half = SentenceEncoder(bert_folder, on_cpu(precision="bf16"))(texts)
    full = SentenceEncoder(bert_folder, on_cpu())(texts)
    assert 1e-6 < np.abs(half - full).max() < 0.05
    np.testing.assert_allclose(np.linalg.norm(half, axis=1), 1, atol=1e-6)


def test_t5_in_fp16_is_refused(tmp_path: Path) -> None:
    shape = {"d_model": 16, "d_ff": 32, "num_heads": 2, "d_kv": 8, "num_layers": 1}
    folder = save(T5EncoderModel(T5Config(vocab_size=32, pad_token_id=0, **shape)), tmp_path)
    with pytest.raises(InputError, match="overflows in fp16; use fp32 or bf16"):
        SentenceEncoder(folder, on_cpu(precision="fp16"))
    assert SentenceEncoder(folder, on_cpu())(["the otter"]).shape == (1, 16)


def test_a_text_without_tokens_is_similar_to_nothing(static_folder: Path) -> None:
    encoder = SentenceEncoder(static_folder, on_cpu())
    lengths = np.linalg.norm(encoder(["otter", "", " ", "bee"]), axis=1)
    assert lengths == pytest.approx([1, 0, 0, 1])
    assert not encoder([""]).any()


def test_a_vector_that_is_not_finite_names_its_text(static_folder: Path) -> None:
    with pytest.raises(DatasetError, match="text 'the blue otter' is not finite"):
        SentenceEncoder(static_folder, on_cpu())(["the bee", "the blue otter"])


@pytest.mark.parametrize("folder", ["bert_folder", "static_folder"])
def test_no_texts_no_vectors(folder: str, request: pytest.FixtureRequest) -> None:
    dim = {"bert_folder": 16, "static_folder": 12}[folder]
    assert SentenceEncoder(request.getfixturevalue(folder), on_cpu())([]).shape == (0, dim)


def test_threads_share_one_model(bert_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One model a thread would not fit a GPU, and a tokenizer's padding is shared state: they
    take turns at it, and compute at once."""
    texts = sentences(40)
    expected = SentenceEncoder(bert_folder, on_cpu(batch_tokens=64))(texts)
    inside: list[int] = []
    crowds: list[int] = []
    preprocess = SentenceTransformer.preprocess

    def spy(self: SentenceTransformer, *args: Any, **fields: Any) -> Any:
        inside.append(1)
        crowds.append(len(inside))
        features = preprocess(self, *args, **fields)
        inside.pop()
        return features

    monkeypatch.setattr(SentenceTransformer, "preprocess", spy)

    def work(_: int) -> tuple[SentenceEncoder, float]:
        encoder = load_encoder(bert_folder, on_cpu(batch_tokens=64))
        return encoder, float(np.abs(encoder(texts) - expected).max())

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(work, range(4)))
    assert len({id(encoder) for encoder, _ in done}) == 1
    assert max(difference for _, difference in done) < 2e-6
    assert max(crowds) == 1


def test_encoding_leaves_the_threads_of_others_alone(bert_folder: Path) -> None:
    """Each core takes a batch; the search that follows must have all of them again."""
    encoder = SentenceEncoder(bert_folder, on_cpu(batch_tokens=16))
    with ThreadPoolExecutor(1) as pool:
        pool.submit(torch.get_num_threads).result()  # a thread takes the default when first asked
        pool.submit(torch.set_num_threads, mining.encode._CORES + 1).result()
        pool.submit(encoder, sentences(20)).result()
        assert pool.submit(torch.get_num_threads).result() == mining.encode._CORES + 1
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == mining.encode._CORES


def test_new_weights_in_an_old_folder_are_loaded(tmp_path: Path) -> None:
    """A long-lived worker that trains into one folder must not mine with the old model."""
    backbone = bert()
    folder = save(backbone, tmp_path)
    before = load_encoder(folder, on_cpu())(["the otter"])
    with torch.no_grad():
        backbone.embeddings.word_embeddings.weight.mul_(-1.5)
    save(backbone, tmp_path)
    weights = folder / "model.safetensors"
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    assert np.abs(load_encoder(folder, on_cpu())(["the otter"]) - before).max() > 1e-3


def test_what_is_no_model_is_bad_input(tmp_path: Path) -> None:
    for name in (tmp_path / "absent" / "model", tmp_path):
        with pytest.raises(InputError, match="neither a sentence-transformers folder nor"):
            SentenceEncoder(name, on_cpu())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_a_gpu_that_is_not_there_is_bad_input(bert_folder: Path) -> None:
    with pytest.raises(InputError, match="finds no GPU"):
        SentenceEncoder(bert_folder, EncoderOptions(device="cuda"))


@pytest.mark.slow
def test_processes_share_the_batches_and_keep_the_order(bert_folder: Path) -> None:
    """As with several GPUs: one process a device, and the vectors of one device alone, up to the
    float noise of a process with another number of threads."""
    before = set(active_children())
    texts = sentences(60)
    alone = SentenceEncoder(bert_folder, on_cpu(batch_tokens=100))
    shared = SentenceEncoder(bert_folder, on_cpu(batch_tokens=100), devices=("cpu", "cpu"))
    np.testing.assert_allclose(shared(texts), alone(texts), atol=1e-6)
    workers = set(active_children()) - before
    np.testing.assert_allclose(shared(texts[:9]), alone(texts[:9]), atol=1e-6)
    assert len(workers) == 2 and set(active_children()) - before == workers
    del shared
    gc.collect()
    assert set(active_children()) <= before
