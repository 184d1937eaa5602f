"""mteb's own tasks: their data out of a mirror folder, in the layouts the Hub has them in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mteb.results import TaskResult

from artifacts.errors import DatasetError, InputError
from artifacts.models import ModelRef
from artifacts.store import Store
from evaluation.catalog import load_catalog
from evaluation.mteb_tasks import load_mteb_task, parts
from evaluation.records import EvalTask, EvaluationOptions
from evaluation.run import Asked, evaluate_task

OPTIONS = EvaluationOptions(device="cpu")
WORDS = ("wave", "tide", "ship", "oven", "flour", "bread", "cloud", "star", "comet")
TASKS = load_catalog()


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Two repositories as the Hub has them: pairs in a file a split; a corpus with its configs."""
    pairs = [
        {"sentence1": a, "sentence2": b, "score": 4.0 if WORDS.index(b) // 3 == i // 3 else 1.0}
        for i, a in enumerate(WORDS)
        for b in WORDS[::2]
    ]
    _lines(tmp_path / "mirror/huggingface.co/mteb/biosses-sts/test.jsonl", pairs)
    _corpus(tmp_path / "mirror/huggingface.co/mteb/scifact")
    return tmp_path / "mirror"


def _corpus(repository: Path) -> None:
    _lines(repository / "corpus.jsonl", [{"_id": w, "title": "", "text": w} for w in WORDS])
    _lines(repository / "queries.jsonl", [{"_id": f"q-{w}", "text": w} for w in WORDS])
    judged = [{"query-id": f"q-{w}", "corpus-id": w, "score": 1} for w in WORDS]
    _lines(repository / "qrels/test.jsonl", judged)
    (repository / "README.md").write_text(CARD)


CARD = """---
configs:
- config_name: default
  data_files: [{split: test, path: qrels/test.jsonl}]
- config_name: corpus
  data_files: [{split: corpus, path: corpus.jsonl}]
- config_name: queries
  data_files: [{split: queries, path: queries.jsonl}]
---
"""


def _lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize(("name", "least"), [("BIOSSES", 0.5), ("SciFact", 0.99)])
def test_a_task_of_mtebs_is_evaluated_from_a_mirror(
    name: str, least: float, mirror: Path, tmp_path: Path, word_model: ModelRef, store: Store
) -> None:
    task = TASKS[name]
    asked = Asked(task, word_model, None, OPTIONS)
    result = evaluate_task(asked, [], tmp_path / "out", store, mirror=mirror)
    assert least <= result["score"] <= 1
    (written,) = (tmp_path / "out").rglob(f"{name}.json")
    told = TaskResult.from_disk(written)
    assert [told.dataset_revision] == list((task.mteb or {}).values())  # not where it lay
    assert str(tmp_path) not in written.read_text()


def test_a_capped_task_says_so_and_keeps_what_is_relevant(
    mirror: Path, tmp_path: Path, word_model: ModelRef, store: Store
) -> None:
    options = OPTIONS.model_copy(update={"max_texts": 2})
    asked = Asked(TASKS["SciFact"], word_model, None, options)
    result = evaluate_task(asked, [], tmp_path / "out", store, mirror=mirror)
    assert result["embeddings"]["asked"] == 2 + 4  # the two queries', and two other documents
    (written,) = (tmp_path / "out").rglob("SciFact.json")
    revision = TaskResult.from_disk(written).dataset_revision
    assert revision.endswith("(at most 2 test rows)")


def test_relevant_documents_that_the_corpus_lacks_are_counted_and_not_found(
    mirror: Path, tmp_path: Path, word_model: ModelRef, store: Store
) -> None:
    repository = mirror / "huggingface.co/mteb/scifact"
    judged = [{"query-id": f"q-{w}", "corpus-id": f"{w}?", "score": 1} for w in WORDS[:2]]
    judged += [{"query-id": f"q-{w}", "corpus-id": w, "score": 1} for w in WORDS[2:]]
    _lines(repository / "qrels/test.jsonl", judged)
    asked = Asked(TASKS["SciFact"], word_model, None, OPTIONS)
    result = evaluate_task(asked, [], tmp_path / "out", store, mirror=mirror)
    assert result["absent_documents"] == 2
    assert result["score"] == pytest.approx(7 / 9, abs=1e-4)


@pytest.mark.parametrize(
    ("names", "said"),
    [(["wave", "", "oven"], "have no id"), (["wave", "oven", "wave"], "the id of an earlier one")],
)
def test_a_corpus_with_empty_or_repeated_ids_is_refused(
    names: list[str], said: str, mirror: Path, tmp_path: Path, word_model: ModelRef, store: Store
) -> None:
    rows = [{"_id": name, "title": "", "text": WORDS[i]} for i, name in enumerate(names)]
    _lines(mirror / "huggingface.co/mteb/scifact/corpus.jsonl", rows)
    asked = Asked(TASKS["SciFact"], word_model, None, OPTIONS)
    with pytest.raises(DatasetError, match=f"SciFact: .*{said}"):
        evaluate_task(asked, [], tmp_path / "out", store, mirror=mirror)


def test_cqadupstacks_twelve_parts_are_one_score_and_share_nothing(
    tmp_path: Path, word_model: ModelRef, store: Store
) -> None:
    """Two sides at once, as an evaluation runs them; capped, which changes the parts' metadata."""
    task = TASKS["CQADupstackRetrieval"]
    for repository in task.mteb or {}:
        _corpus(tmp_path / "mirror/huggingface.co" / repository)
    options = OPTIONS.model_copy(update={"max_texts": 3})

    def score(side: str) -> dict[str, Any]:
        asked = Asked(task, word_model, ("", "") if side == "after" else None, options)
        return evaluate_task(asked, [], tmp_path / side, store, mirror=tmp_path / "mirror")

    with ThreadPoolExecutor(2) as pool:
        before, after = pool.map(score, ("before", "after"))
    assert before["score"] == after["score"] > 0.9
    written = {path.stem for path in (tmp_path / "after").rglob("CQADupstack*.json")}
    assert len(written) == 13 and task.name in written


def test_classifiers_of_two_tasks_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluation.mteb_tasks._load", lambda part, mirror: None)
    name = "Banking77Classification"
    first, second = (load_mteb_task(name, TASKS[name].mteb or {}, 42, None) for _ in range(2))
    assert first.evaluator_model is not second.evaluator_model


def test_data_that_are_not_to_be_had_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"NFCorpus: mteb/nfcorpus at .* not to be had") as told:
        load_mteb_task("NFCorpus", TASKS["NFCorpus"].mteb or {}, 42, tmp_path)
    assert "\n" not in str(told.value)


def test_other_data_than_the_catalogs_are_refused() -> None:
    with pytest.raises(InputError, match=r"BIOSSES: mteb 2\..* loads .*the catalog says"):
        load_mteb_task("BIOSSES", {"mteb/biosses-sts": "0" * 40}, 42, None)


@pytest.mark.parametrize("task", [t for t in TASKS.values() if t.mteb], ids=lambda t: t.name)
def test_a_new_task_has_the_benchmarks_language_and_splits(
    task: EvalTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.mteb_tasks._load", lambda part, mirror: None)
    built = load_mteb_task(task.name, task.mteb or {}, 42, None)
    assert list(built.eval_splits) == ["dev" if task.name == "MSMARCO" else "test"]
    assert all(len(part.hf_subsets) == 1 for part in parts(built))
    assert built.metadata.main_score == task.metric
