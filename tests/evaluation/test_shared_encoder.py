"""Every text is encoded once, as mteb would have it, and never under another's prompt."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from mteb._create_dataloaders import create_dataloader
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import EncoderProtocol, SentenceTransformerEncoderWrapper
from mteb.types import PromptType
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Router

from artifacts.errors import DatasetError, InputError
from artifacts.models import ModelRef
from artifacts.store import Store
from evaluation.encoder import Counts, SharedEncoder, space_of

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

METADATA = TaskMetadata(
    name="InventedSharing",
    description="Invented.",
    dataset={"path": "a/b", "revision": "r1"},
    type="STS",
    category="t2t",
    eval_splits=["test"],
    eval_langs=["eng-Latn"],
    main_score="cosine_spearman",
)
QUERY, DOCUMENT = PromptType.query, PromptType.document


class Wrapper(SentenceTransformerEncoderWrapper):  # type: ignore[misc]
    """mteb's own, which remembers what it was given."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__(model)
        self.given: list[list[str]] = []

    def encode(self, inputs: Any, **kwargs: Any) -> Any:
        self.given.append([text for batch in inputs for text in batch["text"]])
        return super().encode(inputs, **kwargs)


@pytest.fixture
def wrapper(word_model: ModelRef) -> Wrapper:
    return Wrapper(load(word_model))


def load(model: ModelRef, **options: Any) -> SentenceTransformer:
    return SentenceTransformer(str(model.folder), device="cpu", **options)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def encode(encoder: Any, texts: Sequence[str | None], prompt_type: PromptType | None = None) -> Any:
    loader = create_dataloader(Dataset.from_dict({"text": texts}), task_metadata=METADATA)
    return encoder.encode(
        loader,
        task_metadata=METADATA,
        hf_split="test",
        hf_subset="default",
        prompt_type=prompt_type,
        show_progress_bar=False,
    )


def some_texts(words: Mapping[str, Any], count: int) -> list[str]:
    chance = random.Random(0)
    return [" ".join(chance.choices(list(words), k=chance.randint(1, 9))) for _ in range(count)]


def test_vectors_are_mtebs_and_repeated_and_empty_texts_are_texts(
    wrapper: Wrapper, store: Store, words: dict[str, list[float]]
) -> None:
    texts = [*some_texts(words, 50), "", "wave", "wave", ""]
    ours = SharedEncoder(wrapper, "key", store)
    assert isinstance(ours, EncoderProtocol)
    found = encode(ours, texts)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, encode(Wrapper(wrapper.model), texts), atol=1e-6)
    assert ours.counts == Counts(54, len(set(texts)), len(set(texts))) and ours.counts.reused == 0


def test_only_what_is_missing_is_encoded(wrapper: Wrapper, store: Store) -> None:
    ours = SharedEncoder(wrapper, "key", store)
    first = encode(ours, ["tide", "wave", "tide"])
    again = SharedEncoder(wrapper, "key", store)  # as another process would
    second = encode(again, ["bread", "tide", "wave"])
    encode(again, ["wave", "bread"])
    assert [sorted(given) for given in wrapper.given] == [["tide", "wave"], ["bread"]]
    np.testing.assert_array_equal(second[1:], first[:2])
    assert again.counts == Counts(5, 5, 1) and again.counts.reused == 4


def test_other_weights_share_nothing(wrapper: Wrapper, store: Store) -> None:
    encode(SharedEncoder(wrapper, "key", store), ["wave"])
    encode(SharedEncoder(wrapper, "another", store), ["wave"])
    assert wrapper.given == [["wave"], ["wave"]]


PROMPTS: list[tuple[dict[str, str], str | None, dict[str, str] | None]] = [
    ({}, None, None),
    ({"query": "wave ", "document": "oven "}, None, None),
    ({"query": "wave ", "corpus": "oven ", "passage": "star "}, None, None),
    ({"query": "wave ", "default": "rain "}, "default", None),
    ({"default": "rain "}, "default", None),
    ({"query": "wave "}, None, {"STS": "tide ", "STS-query": "ship "}),
    ({"query": "wave "}, None, {"InventedSharing-document": ""}),
    ({"query": "wave "}, None, {"document": "ship "}),
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("prompt_type", [None, QUERY, DOCUMENT])
@pytest.mark.parametrize(("own", "default", "given"), PROMPTS)
def test_the_space_has_the_prompt_that_the_model_is_given(
    own: dict[str, str],
    default: str | None,
    given: dict[str, str] | None,
    prompt_type: PromptType | None,
    word_model: ModelRef,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else two tasks would get each other's vectors."""
    model = load(word_model, prompts=own, default_prompt_name=default)
    wrapper = Wrapper(model)
    if given is not None:
        wrapper.model_prompts = given
    seen = []
    preprocess = model.preprocess

    def spy(inputs: Any, prompt: str | None = None, **kwargs: Any) -> Any:
        seen.append(prompt or "")
        return preprocess(inputs, prompt=prompt, **kwargs)

    monkeypatch.setattr(model, "preprocess", spy)
    encode(wrapper, ["bread"], prompt_type)
    assert seen == [space_of(wrapper, "key", METADATA, prompt_type).prompt]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_prompt_is_part_of_the_text_and_a_type_alone_is_not(
    word_model: ModelRef, store: Store
) -> None:
    wrapper = Wrapper(load(word_model, prompts={"query": "wave ", "document": "wave "}))
    ours = SharedEncoder(wrapper, "key", store)
    as_query, as_document, plain = (encode(ours, ["bread"], x) for x in (QUERY, DOCUMENT, None))
    assert len(wrapper.given) == 2
    np.testing.assert_array_equal(as_query, as_document)
    assert np.abs(as_query - plain).max() > 0.1
    np.testing.assert_allclose(as_query, encode(wrapper, ["bread"], QUERY), atol=1e-6)


def test_the_two_paths_of_a_router_are_kept_apart(
    word_model: ModelRef,
    words: dict[str, list[float]],
    save_model: Callable[[Path, Mapping[str, Sequence[float]]], ModelRef],
    store: Store,
    tmp_path: Path,
) -> None:
    turned = save_model(tmp_path / "turned", {word: vector[::-1] for word, vector in words.items()})
    router = Router.for_query_document([load(word_model)[0]], [load(turned)[0]])
    wrapper = Wrapper(SentenceTransformer(modules=[router], device="cpu"))
    ours = SharedEncoder(wrapper, "key", store)
    for prompt_type in (QUERY, DOCUMENT, QUERY):
        found = encode(ours, ["bread"], prompt_type)
        np.testing.assert_allclose(found, encode(wrapper, ["bread"], prompt_type), atol=1e-6)
    assert ours.counts == Counts(3, 3, 2)
    assert space_of(wrapper, "key", METADATA, QUERY).route == "query"


@pytest.fixture(scope="module")
def wide_model(
    tmp_path_factory: pytest.TempPathFactory,
    save_model: Callable[[Path, Mapping[str, Sequence[float]]], ModelRef],
) -> ModelRef:
    """64 dimensions, so that 1 MiB holds 4,096 vectors."""
    numbers = np.random.default_rng(0).normal(size=(100, 64))
    vectors = {f"w{i}": row.tolist() for i, row in enumerate(numbers)}
    return save_model(tmp_path_factory.mktemp("models") / "wide", vectors)


@pytest.fixture
def many() -> list[str]:
    return [f"w{i % 100} w{i // 100}" + " w0" * (i % 7) for i in range(4500)]


def test_more_than_the_memory_is_mapped_from_a_file_that_nobody_has_to_delete(
    wide_model: ModelRef, many: list[str], store: Store
) -> None:
    ours = SharedEncoder(Wrapper(load(wide_model)), "key", store, memory_mib=1)
    found = encode(ours, many)
    assert isinstance(found, np.memmap)
    assert not isinstance(encode(ours, many[:4000]), np.memmap)
    np.testing.assert_allclose(found, encode(Wrapper(load(wide_model)), many), atol=1e-6)
    files = {path.name for path in store.root.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("vectors-")} == {
        "digests.npy",
        "manifest.json",
        "vectors.npy",
    }


def test_pieces_fit_the_memory_and_have_texts_of_like_length(
    wide_model: ModelRef, many: list[str], store: Store
) -> None:
    wrapper = Wrapper(load(wide_model))
    encode(SharedEncoder(wrapper, "key", store, memory_mib=1), many)
    assert len(wrapper.given) > 10
    assert all(len(piece) * 64 * 4 < 2**18 for piece in wrapper.given)
    ends = [(max(map(len, piece)), min(map(len, piece))) for piece in wrapper.given]
    assert all(shortest >= longest for (_, shortest), (longest, _) in pairwise(ends))


def test_a_killed_run_loses_one_piece(
    wide_model: ModelRef, many: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrapper = Wrapper(load(wide_model))
    whole = wrapper.encode

    def killed(inputs: Any, **kwargs: Any) -> Any:
        if len(wrapper.given) == 3:
            raise KeyboardInterrupt
        return whole(inputs, **kwargs)

    monkeypatch.setattr(wrapper, "encode", killed)
    with pytest.raises(KeyboardInterrupt):
        encode(SharedEncoder(wrapper, "key", store, memory_mib=1), many)
    done = sum(map(len, wrapper.given))
    monkeypatch.undo()
    again = SharedEncoder(wrapper, "key", store, memory_mib=1)
    encode(again, many)
    assert again.counts == Counts(4500, 4500, 4500 - done) and done > 0


def test_what_another_process_stores_meanwhile_is_not_encoded(
    wide_model: ModelRef, many: list[str], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Wrapper(load(wide_model)), Wrapper(load(wide_model))
    whole = ours.encode

    def slow(inputs: Any, **kwargs: Any) -> Any:
        if not ours.given:
            encode(SharedEncoder(theirs, "key", store), many)
        return whole(inputs, **kwargs)

    monkeypatch.setattr(ours, "encode", slow)
    encode(SharedEncoder(ours, "key", store, memory_mib=1), many)
    assert len(ours.given) == 1


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_vector_that_is_no_vector_names_the_task_and_the_text(
    number: float, word_model: ModelRef, store: Store
) -> None:
    wrapper = Wrapper(load(word_model))
    with torch.no_grad():
        wrapper.model[0].embedding.weight[1] = number  # "wave"
    text = "wave " + "tide " * 20
    ours = SharedEncoder(wrapper, "key", store)
    with pytest.raises(DatasetError, match=f"^InventedSharing: .*'{text[:60]}'"):
        encode(ours, ["oven", text, "bread"])
    assert not list(store.artifacts())


class Loader:
    """A loader whose dataset has a null, which mteb's own loaders only find as they are read."""

    dataset = Dataset.from_dict({"text": ["wave", None]})


def test_a_row_without_a_text_is_named(wrapper: Wrapper, store: Store) -> None:
    with pytest.raises(DatasetError, match="InventedSharing: row 1 holds None"):
        SharedEncoder(wrapper, "key", store).encode(Loader(), task_metadata=METADATA)


def test_vectors_are_not_shared_in_another_precision(wrapper: Wrapper, store: Store) -> None:
    with pytest.raises(InputError, match="precision 'int8'"):
        SharedEncoder(wrapper, "key", store).encode(
            Loader(), task_metadata=METADATA, precision="int8"
        )


def test_no_texts_have_no_vectors(wrapper: Wrapper, store: Store) -> None:
    empty = Loader()
    empty.dataset = Dataset.from_dict({"text": []})
    ours = SharedEncoder(wrapper, "key", store)
    assert len(ours.encode(empty, task_metadata=METADATA)) == 0 and ours.counts == Counts()
