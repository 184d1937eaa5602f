"""Embeddings in the store: an hour of encoding must not be spent twice, nor vectors be mixed up."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, StaticEmbedding, Transformer
from transformers import AutoTokenizer, T5Config, T5EncoderModel

from artifacts.errors import DatasetError, InputError
from artifacts.models import ModelRef, resolve_model
from artifacts.store import Artifact, Store
from mining import encode
from mining.embeddings import StoredVectors, embed, find_embeddings
from mining.encode import SentenceEncoder
from mining.options import EncoderOptions
from tests.mining.test_encode import on_cpu, sentences, tokenizer

_MODELS = Path(__file__).resolve().parents[2].parent / "shared" / "models"
if "MEDI_REAL_DATA" in os.environ:
    _MODELS = Path(os.environ["MEDI_REAL_DATA"]).parent / "models"
_MINILM, _T5 = _MODELS / "all-MiniLM-L6-v2-fp16", _MODELS / "t5-tokenizer"


def static(folder: Path, dim: int, seed: int = 0) -> ModelRef:
    """One random vector a word; that of "blue", the last word, is not finite."""
    weights = np.random.default_rng(seed).normal(size=(15, dim)).astype(np.float32)
    weights[-1] = np.nan
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer(), weights)], device="cpu")
    model.save(str(folder))
    return resolve_model(str(folder), None)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    return static(tmp_path_factory.mktemp("encoder"), 12)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> SentenceEncoder:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(encode, "load_encoder", refuse)


def embedded(
    store: Store, model: ModelRef, texts: Sequence[str], dataset: str = "toy", **options: Any
) -> Artifact:
    return embed(store, dataset, model, on_cpu(**options), texts, {"device": "cpu"})


def test_vectors_are_the_encoders_rounded_once(store: Store, model: ModelRef) -> None:
    texts = sentences(300)
    vectors = StoredVectors([embedded(store, model, texts)])(texts)
    rounded = SentenceEncoder(model.folder, on_cpu())(texts).astype(np.float16).astype(np.float64)
    lengths = np.linalg.norm(rounded, axis=1, keepdims=True)
    np.testing.assert_array_equal(vectors, (rounded / lengths).astype(np.float32))
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.fixture(scope="session")
def two_parts(tmp_path_factory: pytest.TempPathFactory, model: ModelRef) -> list[Artifact]:
    store = Store(tmp_path_factory.mktemp("parts"))
    return [embedded(store, model, part) for part in (sentences(40)[:25], sentences(40)[20:])]


@settings(deadline=None)
@given(st.lists(st.sampled_from(sentences(40)), max_size=30))
def test_a_text_has_one_vector_in_any_order_and_company(
    two_parts: list[Artifact], texts: list[str]
) -> None:
    stored = StoredVectors(two_parts)
    vectors = stored(texts)
    assert vectors.shape == (len(texts), 12)
    for text, vector in zip(texts, vectors, strict=True):
        np.testing.assert_array_equal(stored([text])[0], vector)
    assert stored.tokens(texts).tolist() == [len(text.split()) + 2 for text in texts]


def test_an_absent_text_is_named(two_parts: list[Artifact]) -> None:
    with pytest.raises(LookupError, match="no vector of 'the badger reads' in the embeddings"):
        StoredVectors(two_parts)(["the badger reads"])
    with pytest.raises(LookupError, match="no vector of 'the badger reads'"):
        StoredVectors(two_parts).tokens([sentences(1)[0], "the badger reads"])


def test_vectors_of_two_encoders_are_not_compared(
    tmp_path: Path, store: Store, model: ModelRef
) -> None:
    other = static(tmp_path / "other", 7)
    artifacts = [embedded(store, each, ["a bee"]) for each in (model, other)]
    with pytest.raises(InputError, match=r"12 dimensions in .* and 7 in "):
        StoredVectors(artifacts)


@pytest.mark.usefixtures("no_model")
def test_what_is_encoded_is_found_without_the_model(
    two_parts: list[Artifact], model: ModelRef
) -> None:
    store = Store(two_parts[0].folder.parents[2])
    texts = sentences(40)[:25]
    found = embedded(store, model, [*texts, *texts[:9]])
    assert found.folder == two_parts[0].folder
    with pytest.raises(AssertionError, match="a model was loaded"):
        embedded(store, model, texts[1:])


def test_whatever_moves_a_vector_is_in_the_key(
    tmp_path: Path, store: Store, model: ModelRef
) -> None:
    texts = ["the otter swims", "a bee"]
    other = static(tmp_path / "other", 12, seed=1)
    made = [
        embedded(store, model, texts),
        embedded(store, other, texts),
        embedded(store, model, texts[:1]),
        embedded(store, model, ["the otter", "swims a bee"]),
        embedded(store, model, texts, prompt="a "),
        embedded(store, model, texts, max_tokens=8),
        embedded(store, model, texts, precision="bf16"),
    ]
    assert len({artifact.manifest.key for artifact in made}) == len(made)


def test_two_stores_hold_the_same_bytes(tmp_path: Path, model: ModelRef) -> None:
    texts = sentences(50)
    folders = [embedded(Store(tmp_path / name), model, texts).folder for name in "ab"]
    for name in ("vectors.npy", "texts.npy", "tokens.npy", "manifest.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_builds_at_once_encode_once(
    store: Store, model: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = encode.load_encoder

    def counting(name: str | Path, options: EncoderOptions) -> SentenceEncoder:
        loaded.append(str(name))
        return load(name, options)

    monkeypatch.setattr(encode, "load_encoder", counting)
    with ThreadPoolExecutor(4) as threads:
        made = threads.map(lambda _: embedded(store, model, sentences(30)).folder, range(4))
    assert (len(set(made)), len(loaded)) == (1, 1)


def test_a_vector_that_is_not_finite_leaves_nothing_behind(store: Store, model: ModelRef) -> None:
    with pytest.raises(DatasetError, match="text 'the blue otter' is not finite"):
        embedded(store, model, ["the bee", "the blue otter"])
    assert list(store.artifacts()) == []


def test_a_text_without_tokens_is_stored_as_similar_to_nothing(
    store: Store, tmp_path: Path
) -> None:
    bare = tokenizer()
    bare.post_processor = None
    module = StaticEmbedding(bare, np.ones((15, 4), np.float32))
    SentenceTransformer(modules=[module], device="cpu").save(str(tmp_path / "bare"))
    model = resolve_model(str(tmp_path / "bare"), None)
    stored = StoredVectors([embedded(store, model, ["otter", "", "   "])])
    np.testing.assert_array_equal(stored(["", "   ", "otter"]), [[0] * 4, [0] * 4, [0.5] * 4])
    assert stored.tokens(["", "otter"]).tolist() == [0, 1]


def test_no_texts_are_no_vectors(store: Store, model: ModelRef) -> None:
    stored = StoredVectors([embedded(store, model, [])])
    assert stored([]).shape == (0, 12)
    with pytest.raises(LookupError):
        stored(["an otter"])


def test_encoding_never_holds_all_vectors(store: Store, tmp_path: Path) -> None:
    """A million texts are 3 GB in fp32; beside the model that does not fit a small machine."""
    model = static(tmp_path / "wide", 2048)
    texts = [f"{text} {i}" for i, text in enumerate(sentences(4000))]
    embedded(store, model, texts[:10], batch_tokens=2000)  # what loading takes is not counted
    tracemalloc.start()
    try:
        embedded(store, model, texts, batch_tokens=2000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4000 * 2048 * 4 / 3


def test_embeddings_with_a_damaged_part_are_not_found(two_parts: list[Artifact]) -> None:
    store = Store(two_parts[0].folder.parents[2])
    keys = [artifact.manifest.key for artifact in two_parts]
    assert [found.folder for found in find_embeddings(store, "toy", keys)] == [
        artifact.folder for artifact in two_parts
    ]
    assert find_embeddings(store, "toy", [*keys, "0" * 24]) == []
    assert find_embeddings(store, "other", keys) == []


def _t5(folder: Path) -> Path:
    """A small random T5 with the real tokenizer, mean pooled as GTR is."""
    words = AutoTokenizer.from_pretrained(_T5)
    torch.manual_seed(0)
    shape = {"d_model": 256, "d_ff": 64, "num_heads": 2, "d_kv": 16, "num_layers": 2}
    backbone = T5EncoderModel(T5Config(vocab_size=len(words), pad_token_id=0, **shape))
    backbone.save_pretrained(folder / "backbone")
    words.save_pretrained(folder / "backbone")
    first = Transformer(str(folder / "backbone"))
    modules = [first, Pooling(first.get_embedding_dimension())]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"))
    return folder / "model"


@pytest.mark.real
@pytest.mark.parametrize("kind", ["minilm", "t5"])
def test_real_encoders_score_stored_as_they_score_fresh(
    kind: str, tmp_path: Path, store: Store
) -> None:
    needed = _MINILM if kind == "minilm" else _T5
    if not needed.is_dir():
        pytest.skip(f"MEDI_REAL_DATA: no model {needed}")
    model = resolve_model(str(_MINILM if kind == "minilm" else _t5(tmp_path)), None)
    texts = ["", "Wo leben Otter?", "Where do otters live?", "Otters live in rivers. " * 60, "🦦"]
    stored = StoredVectors([embedded(store, model, texts, max_tokens=128)])(texts)
    fresh = SentenceEncoder(model.folder, on_cpu(max_tokens=128))(texts)
    assert np.abs(stored @ stored.T - fresh @ fresh.T).max() < 1e-4
