"""Which texts of an evaluation task count for decontamination."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import mteb
import pytest
from datasets import Dataset, DatasetDict

from artifacts.errors import InputError
from evaluation.paper import MTEB_56
from evaluation.texts import mteb_data, texts_of


def task(dataset: Any, splits: tuple[str, ...] = ("test",)) -> Any:
    return SimpleNamespace(dataset=dataset, metadata=SimpleNamespace(eval_splits=list(splits)))


def test_labels_ids_and_training_rows_are_no_evaluation_texts() -> None:
    rows = {"id": ["a-1", "a-2"], "text": ["one text", "another text"], "label": ["sport", "art"]}
    dataset = DatasetDict(
        train=Dataset.from_dict({**rows, "text": ["x y", "z"]}), test=Dataset.from_dict(rows)
    )
    assert texts_of(task(dataset)).to_pylist() == ["one text", "another text"]


def test_of_retrieval_the_queries_and_the_relevant_documents() -> None:
    split = {
        "queries": Dataset.from_dict({"id": ["q1", "q2"], "text": ["who?", "where?"]}),
        "corpus": Dataset.from_dict(
            {
                "id": ["d1", "d2", "d3"],
                "text": ["he did", "not judged", "judged wrong"],
                "title": ["Him", "", ""],
            }
        ),
        "relevant_docs": {"q1": {"d1": 2, "d3": 0}},
        "top_ranked": None,
    }
    found = texts_of(task({"default": {"test": split}})).to_pylist()
    assert found == ["who?", "where?", "he did", "Him he did"]


def test_lists_of_texts_are_opened_and_repeats_counted_once() -> None:
    rows = {"sentences": [["a b", "c d"], ["c d"]], "score": [1.0, 2.0]}
    assert texts_of(task({"en": {"test": Dataset.from_dict(rows)}})).to_pylist() == ["a b", "c d"]


def test_a_task_of_mteb_is_known_by_its_revision_and_a_typo_by_its_neighbours() -> None:
    assert list(mteb_data("NFCorpus")) == ["mteb/nfcorpus"]
    with pytest.raises(InputError, match=r"no evaluation task 'NFCorpuss'.*NFCorpus"):
        mteb_data("NFCorpuss")


@pytest.mark.parametrize("name", MTEB_56)
def test_the_data_of_each_of_the_56_are_pinned(name: str) -> None:
    """CQADupstack among them, whose data are those of its twelve parts."""
    data = mteb_data(name)
    assert len(data) == (12 if name == "CQADupstackRetrieval" else 1)
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision in data.values())


def test_the_56_are_those_of_mteb() -> None:
    assert {task.metadata.name for task in mteb.get_benchmark("MTEB(eng, v1)").tasks} == set(
        MTEB_56
    )
