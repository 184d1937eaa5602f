"""A corpus in chunks is searched as mteb searches it whole, and one object serves every task."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import mteb
import numpy as np
import pytest
import torch
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.models import (
    EncoderProtocol,
    SearchEncoderWrapper,
    SearchProtocol,
    SentenceTransformerEncoderWrapper,
)
from sentence_transformers import SentenceTransformer

from artifacts.errors import DatasetError
from artifacts.models import ModelRef
from artifacts.store import Store
from evaluation.encoder import SharedEncoder
from evaluation.search import StreamedSearch

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def metadata(type_: str, metric: str) -> TaskMetadata:
    return TaskMetadata(
        name=f"Invented{type_}",
        description="Invented.",
        dataset={"path": "a/b", "revision": "r1"},
        type=type_,
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=metric,
    )


RETRIEVAL = metadata("Retrieval", "ndcg_at_10")
ABOUT = {"hf_split": "test", "hf_subset": "default", "encode_kwargs": {"batch_size": 64}}


class Numbers:
    """A text is its vector, written out; small whole numbers, so that scores are exact and tie."""

    mteb_model_meta = None

    def __init__(self) -> None:
        self.chunks: list[int] = []

    def encode(self, inputs: Iterable[Mapping[str, Any]], **kwargs: Any) -> Any:
        texts = [text for batch in inputs for text in batch["text"]]
        self.chunks.append(len(texts))
        return np.array([[float(x) for x in text.split()] for text in texts], np.float32)

    def similarity(self, left: Any, right: Any) -> Any:
        return torch.as_tensor(left) @ torch.as_tensor(right).T

    def similarity_pairwise(self, left: Any, right: Any) -> Any:
        return (torch.as_tensor(left) * torch.as_tensor(right)).sum(dim=1)


def dataset(prefix: str, texts: Sequence[str]) -> Dataset:
    return Dataset.from_dict({"id": [f"{prefix}{i}" for i in range(len(texts))], "text": texts})


def random_texts(count: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [" ".join(str(chance.randint(-2, 2)) for _ in range(3)) for _ in range(count)]


def search(
    searcher: Any, corpus: Dataset, queries: Dataset, top_k: int, **kwargs: Any
) -> dict[str, dict[str, float]]:
    searcher.index(corpus, task_metadata=RETRIEVAL, num_proc=None, **ABOUT)
    return searcher.search(
        queries, task_metadata=RETRIEVAL, top_k=top_k, num_proc=None, **ABOUT, **kwargs
    )


def by_hand(corpus: Dataset, queries: Dataset, top_k: int) -> dict[str, list[tuple[str, float]]]:
    """Every score, best first, of equal ones the earlier document first."""
    documents_ND, queries_QD = (
        np.array([[float(x) for x in text.split()] for text in part["text"]])
        for part in (corpus, queries)
    )
    scores_QN = queries_QD @ documents_ND.T
    return {
        query: [(f"d{i}", float(row[i])) for i in np.argsort(-row, kind="stable")[:top_k]]
        for query, row in zip(queries["id"], scores_QN, strict=True)
    }


@pytest.mark.parametrize("top_k", [1, 7, 400])
@pytest.mark.parametrize("block", [3, 8192])
def test_chunks_and_blocks_change_nothing_and_ties_keep_the_order_of_the_corpus(
    top_k: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.search._BLOCK", block)
    corpus, queries = dataset("d", random_texts(300, 1)), dataset("q", random_texts(20, 2))
    model = Numbers()
    found = search(StreamedSearch(model, memory_mib=1), corpus, queries, top_k)
    assert len(model.chunks) > 4 and sum(model.chunks) == 320
    ordered = {query: list(best.items()) for query, best in found.items()}
    assert ordered == by_hand(corpus, queries, top_k)


@pytest.mark.parametrize("top_k", [1, 7, 400])
def test_scores_are_those_of_mtebs_own_search(top_k: int) -> None:
    """Of equal scores at the end of the list mteb keeps others."""
    corpus, queries = dataset("d", random_texts(300, 1)), dataset("q", random_texts(20, 2))
    ours = search(StreamedSearch(Numbers(), memory_mib=1), corpus, queries, top_k)
    theirs = search(SearchEncoderWrapper(Numbers(), 70), corpus, queries, top_k)
    assert list(ours) == list(theirs)
    for query in ours:
        last = min(ours[query].values())
        assert sorted(ours[query].values()) == sorted(theirs[query].values())
        above = [{d: s for d, s in best[query].items() if s > last} for best in (ours, theirs)]
        assert above[0] == above[1]


@settings(max_examples=25, deadline=None)
@given(
    vectors=st.lists(
        st.floats(-1e6, 1e6, width=32, allow_nan=False).map(lambda x: f"{x!r}"), min_size=1
    ),
    query=st.sampled_from(["1", "-1", "0", "-0.5", "1e-30"]),
    top_k=st.integers(1, 9),
)
def test_any_number_is_ordered_and_given_back(vectors: list[str], query: str, top_k: int) -> None:
    """Negative, tiny and -0.0 among them."""
    corpus, queries = dataset("d", vectors), dataset("q", [query])
    numbers = np.array([float(x) for x in vectors], np.float32) * np.float32(query)
    order = np.argsort(-numbers, kind="stable")[:top_k]
    found = search(StreamedSearch(Numbers()), corpus, queries, top_k)["q0"]
    assert list(found.items()) == [(f"d{i}", float(numbers[i])) for i in order]


def test_ranked_documents_are_ranked_again_as_mteb_does() -> None:
    corpus, queries = dataset("d", random_texts(60, 3)), dataset("q", random_texts(5, 4))
    chance = random.Random(5)
    ranked = {f"q{i}": chance.sample(list(corpus["id"]), k=10 * i) for i in range(4)}  # no q4
    found, theirs = (
        search(searcher, corpus, queries, 25, top_ranked=ranked)
        for searcher in (StreamedSearch(Numbers()), SearchEncoderWrapper(Numbers()))
    )
    assert [len(found[query]) for query in found] == [0, 10, 20, 25, 0]
    for query in found:
        scores = list(found[query].values())
        assert scores == sorted(theirs[query].values(), reverse=True)
        above = [
            {d: s for d, s in best[query].items() if s > scores[-1]} for best in (found, theirs)
        ]
        assert above[0] == above[1]


def test_a_ranked_document_that_is_nowhere_is_named() -> None:
    corpus, queries = dataset("d", ["1", "2"]), dataset("q", ["1"])
    with pytest.raises(DatasetError, match="query 'q0' the corpus has no 'd7'"):
        search(StreamedSearch(Numbers()), corpus, queries, 5, top_ranked={"q0": ["d1", "d7"]})


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        (["a", "", "b", ""], "InventedRetrieval: .* no id, first in row 1, 3"),
        (["a", None, "b"], "InventedRetrieval: .* no id, first in row 1"),
        (["a", "b", "a", "c", "b", "a"], "InventedRetrieval: 3 documents .* such as 'a', 'b'"),
    ],
)
def test_empty_and_repeated_ids_are_named(ids: list[str | None], said: str) -> None:
    """They would change the score without a word: a result has one place an id."""
    corpus = Dataset.from_dict({"id": ids, "text": ["1"] * len(ids)})
    with pytest.raises(DatasetError, match=said):
        StreamedSearch(Numbers()).index(corpus, task_metadata=RETRIEVAL)


def test_ids_of_a_large_corpus_are_looked_at_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.search._IDS_AT_ONCE", 2)
    corpus = Dataset.from_dict({"id": ["a", "b", "c", "", "a"], "text": ["1"] * 5})
    with pytest.raises(DatasetError, match="no id, first in row 3"):
        StreamedSearch(Numbers()).index(corpus, task_metadata=RETRIEVAL)
    with pytest.raises(DatasetError, match=r"1 documents .* such as 'a'$"):
        StreamedSearch(Numbers()).index(corpus.select([0, 1, 2, 4]), task_metadata=RETRIEVAL)


def test_ids_whose_digests_meet_by_half_are_two_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    def digests_of(ids: Sequence[str]) -> Any:
        return np.array([[len(name) for name in ids]] * 2, np.uint64)

    monkeypatch.setattr("evaluation.search.digests_of", digests_of)
    StreamedSearch(Numbers()).index(dataset("d", ["1", "2"]), task_metadata=RETRIEVAL)


def test_scores_that_are_no_numbers_are_no_result() -> None:
    corpus, queries = dataset("d", ["1", "nan"]), dataset("q", ["1"])
    for extra in ({}, {"top_ranked": {"q0": ["d1"]}}):
        with pytest.raises(DatasetError, match=r"^InventedRetrieval: the model gives scores"):
            search(StreamedSearch(Numbers()), corpus, queries, 5, **extra)


def test_a_corpus_is_indexed_before_it_is_searched() -> None:
    with pytest.raises(ValueError, match="call index"):
        StreamedSearch(Numbers()).search(dataset("q", ["1"]), task_metadata=RETRIEVAL, top_k=1)


def test_an_empty_corpus_has_nothing_to_find() -> None:
    corpus = Dataset.from_dict({"id": ["a"], "text": ["1"]}).select([])
    assert search(StreamedSearch(Numbers()), corpus, dataset("q", ["1"]), 3) == {"q0": {}}


WORDS = [f"w{i}" for i in range(30)]


class InventedRetrieval(AbsTaskRetrieval):  # type: ignore[misc]
    metadata = RETRIEVAL
    ignore_identical_ids = True  # as in Quora, ArguAna and CQADupstack


class InventedSTS(AbsTaskSTS):  # type: ignore[misc]
    metadata = metadata("STS", "cosine_spearman")


def retrieval() -> InventedRetrieval:
    """Queries stand in the corpus under their own ids; no two texts have the same words."""
    chance = random.Random(6)
    texts = [" ".join(some) for some in chance.sample([*combinations(WORDS, 3)], 200)]
    task = InventedRetrieval()
    corpus = Dataset.from_dict(
        {
            "id": [f"d{i}" for i in range(200)],
            "title": [text.split()[0] if i % 2 else "" for i, text in enumerate(texts)],
            "text": texts,
        }
    )
    queries = Dataset.from_dict({"id": [f"d{i}" for i in range(30)], "text": texts[:30]})
    relevant = {f"d{i}": {f"d{chance.randrange(200)}": 1, f"d{i + 50}": 1} for i in range(30)}
    task.dataset = {
        "default": {
            "test": {
                "corpus": corpus,
                "queries": queries,
                "relevant_docs": relevant,
                "top_ranked": None,
            }
        }
    }
    task.data_loaded = True
    return task


def pairs() -> InventedSTS:
    chance = random.Random(7)
    task = InventedSTS()
    columns = {
        f"sentence{i}": [" ".join(chance.choices(WORDS, k=2)) for _ in range(40)] for i in (1, 2)
    }
    rows = columns | {"score": [chance.uniform(0, 5) for _ in range(40)]}
    task.dataset = DatasetDict(test=Dataset.from_dict(rows))
    task.data_loaded = True
    return task


@pytest.mark.parametrize("build", [retrieval, pairs])
def test_mteb_gives_the_scores_of_its_own_wrapper(
    build: Callable[[], Any],
    save_model: Callable[[Path, Mapping[str, Sequence[float]]], ModelRef],
    tmp_path: Path,
) -> None:
    numbers = np.random.default_rng(8).normal(size=(len(WORDS), 16)).tolist()
    model = save_model(tmp_path / "model", dict(zip(WORDS, numbers, strict=True)))
    wrapper = SentenceTransformerEncoderWrapper(
        SentenceTransformer(str(model.folder), device="cpu")
    )
    shared = SharedEncoder(wrapper, model.key, Store(tmp_path / "store"), memory_mib=1)
    ours = StreamedSearch(shared, memory_mib=1)
    assert isinstance(ours, SearchProtocol) and isinstance(ours, EncoderProtocol)
    results, encoded = [], []
    for encoder in (ours, wrapper, ours):
        outcome = mteb.evaluate(
            encoder, build(), cache=None, co2_tracker=False, show_progress_bar=False,
            encode_kwargs={"batch_size": 16, "show_progress_bar": False},
        )  # fmt: skip
        (scores,) = outcome.task_results[0].scores["test"]
        results.append({name: x for name, x in scores.items() if isinstance(x, float)})
        encoded.append(shared.counts.encoded)
    assert len(results[0]) > 5 and set(results[0]) == set(results[1])
    assert results[0] == pytest.approx(results[1], abs=1e-4, nan_ok=True)
    assert results[2] == pytest.approx(results[0], abs=0, nan_ok=True)
    assert encoded[0] == encoded[2] > 50
