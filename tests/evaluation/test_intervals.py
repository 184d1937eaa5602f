"""Intervals: the score that is resampled is mteb's, the resamples are fair, noise is called so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st
from mteb._evaluators.retrieval_metrics import max_over_subqueries
from mteb._evaluators.text.summarization_evaluator import DeprecatedSummarizationEvaluator
from mteb.abstasks import (
    AbsTaskClassification,
    AbsTaskClustering,
    AbsTaskPairClassification,
    AbsTaskRetrieval,
)
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.sts import AbsTaskSTS
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.text.summarization import AbsTaskSummarization
from mteb.models import SentenceTransformerEncoderWrapper
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer
from sklearn.metrics import average_precision_score

from artifacts.errors import DatasetError
from artifacts.models import ModelRef
from evaluation import bootstrap
from evaluation.billboard import AbsTaskBillboard
from evaluation.intervals import (
    ScoreInterval,
    compare,
    interval,
    measure,
    pooled,
    read_interval,
    replicates,
    score_again,
    write_interval,
)
from evaluation.queries import query_scores

Make = Callable[[dict[str, list[float]]], AbsTask]


def built(base: type[AbsTask], type_: str, metric: str, dataset: Any, **fields: Any) -> AbsTask:
    metadata = TaskMetadata(
        name="Invented",
        description="Invented texts.",
        dataset={"path": "a/b", "revision": "r1"},
        type=type_,
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score=metric,
    )
    made = type("Invented", (base,), {"metadata": metadata, **fields})()
    made.dataset, made.data_loaded = dataset, True
    return made


def texts(words: dict[str, list[float]], number: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(list(words), size=3)) for _ in range(number)]


def test_set(**columns: Any) -> DatasetDict:
    return DatasetDict(test=Dataset.from_dict(columns))


test_set.__test__ = False  # type: ignore[attr-defined]


def sts(words: dict[str, list[float]]) -> AbsTask:
    scores = np.random.default_rng(3).integers(0, 6, 40).astype(float).tolist()
    columns = {"sentence1": texts(words, 40, 1), "sentence2": texts(words, 40, 2)}
    return built(AbsTaskSTS, "STS", "cosine_spearman", test_set(**columns, score=scores))


def pairs(words: dict[str, list[float]]) -> AbsTask:
    """All pairs in one row, as mteb's older sets have them."""
    labels = [i % 3 == 0 for i in range(60)]
    columns = {"sentence1": texts(words, 60, 1), "sentence2": texts(words, 60, 2)}
    one = {name: [values] for name, values in columns.items()}
    dataset = test_set(**one, labels=[[int(label) for label in labels]])
    return built(AbsTaskPairClassification, "PairClassification", "max_ap", dataset)


def classification(words: dict[str, list[float]]) -> AbsTask:
    rows = {"text": texts(words, 60, 1), "label": [i % 3 for i in range(60)]}
    dataset = DatasetDict(train=Dataset.from_dict(rows), test=Dataset.from_dict(rows))
    return built(AbsTaskClassification, "Classification", "accuracy", dataset)


def search(metric: str, **fields: Any) -> Make:
    def make(words: dict[str, list[float]]) -> AbsTask:
        queries, documents = texts(words, 24, 1), texts(words, 40, 2)
        split = {
            "corpus": Dataset.from_dict({"id": [f"q{i}_0" for i in range(40)], "text": documents}),
            "queries": Dataset.from_dict({"id": [f"q{i}_0" for i in range(24)], "text": queries}),
            "relevant_docs": {f"q{i}_0": {f"q{i + 1}_0": 1, "q39_0": 2} for i in range(22)},
            "top_ranked": None,
        }
        split["relevant_docs"]["q22_0"] = {}
        dataset = {"default": {"test": split}}
        return built(AbsTaskRetrieval, "Retrieval", metric, dataset, **fields)

    return make


def summarization(**fields: Any) -> Make:
    def make(words: dict[str, list[float]]) -> AbsTask:
        random = np.random.default_rng(5)
        dataset = test_set(
            text=texts(words, 15, 1),
            human_summaries=[texts(words, 2, i) for i in range(15)],
            machine_summaries=[texts(words, 6, 50 + i) for i in range(15)],
            relevance=[random.integers(0, 6, 6).astype(float).tolist() for _ in range(15)],
        )
        scale = {"min_score": 0, "max_score": 5}
        return built(
            AbsTaskSummarization, "Summarization", "cosine_spearman", dataset, **scale, **fields
        )

    return make


def billboard(words: dict[str, list[float]]) -> AbsTask:
    dataset = test_set(
        hypothesis=texts(words, 30, 1),
        references=[texts(words, 2, i) for i in range(30)],
        human_score=np.random.default_rng(4).normal(size=30).tolist(),
    )
    return built(AbsTaskBillboard, "Summarization", "cosine_pearson", dataset)


def clustering(words: dict[str, list[float]]) -> AbsTask:
    dataset = test_set(sentences=texts(words, 40, 1), labels=[i % 3 for i in range(40)])
    fields = {"max_fraction_of_documents_to_embed": None, "max_documents_per_cluster": 20}
    return built(AbsTaskClustering, "Clustering", "v_measure", dataset, **fields)


@pytest.fixture(scope="module")
def encoder(word_model: ModelRef) -> SentenceTransformerEncoderWrapper:
    return SentenceTransformerEncoderWrapper(SentenceTransformer(str(word_model.folder)))


def evaluated(task: AbsTask, encoder: Any, folder: Path) -> tuple[float, dict[str, Any]]:
    scores = task.evaluate(encoder, "test", encode_kwargs={}, prediction_folder=folder)
    predictions = json.loads((folder / task.prediction_file_name).read_text(encoding="utf-8"))
    return scores["default"][task.metadata.main_score], predictions


TASKS: dict[str, tuple[Make, int]] = {
    "STS": (sts, 40),
    "pair classification": (pairs, 60),
    "classification": (classification, 60),
    "nDCG": (search("ndcg_at_10"), 22),
    "a query is no hit of its own": (search("ndcg_at_10", ignore_identical_ids=True), 22),
    "the first hit is left out": (search("recall_at_5", skip_first_result=True), 22),
    "MAP": (search("map_at_1000"), 22),
    "MRR": (search("mrr_at_10"), 22),
    "summarization": (summarization(), 15),
    "SummEval": (summarization(evaluator=DeprecatedSummarizationEvaluator), 15),
    "Billboard": (billboard, 30),
}


@pytest.mark.parametrize("name", TASKS)
def test_what_is_resampled_is_the_score_that_mteb_gives(
    name: str, tmp_path: Path, words: dict[str, list[float]], encoder: Any
) -> None:
    make, examples = TASKS[name]
    task = make(words)
    score, predictions = evaluated(task, encoder, tmp_path)
    metric = task.metadata.main_score
    rounded = 5e-6 if isinstance(task, AbsTaskRetrieval) else 0.0  # by mteb
    again = score_again(task, predictions, metric)
    assert again == pytest.approx(score, abs=1e-6 + rounded)
    found = measure(task, predictions, metric, score, seed=1, n=100)
    assert found is not None and found.n_examples == examples
    assert found.low < score < found.high and len(set(found.replicates)) > 10
    assert measure(task, predictions, metric, score + 0.01, seed=1, n=10) is None
    for unknown in (None, float("nan")):  # a part of a task: the score is what it gives
        part = measure(task, predictions, metric, unknown, seed=1, n=10)
        assert part is not None and part.score == pytest.approx(score, abs=1e-4)
    assert measure(task, {}, metric, score, seed=1) is None


def test_clustering_has_no_interval(
    tmp_path: Path, words: dict[str, list[float]], encoder: Any
) -> None:
    task = clustering(words)
    score, predictions = evaluated(task, encoder, tmp_path)
    assert replicates(task, predictions, "v_measure", seed=1) is None
    assert measure(task, predictions, "v_measure", score, seed=1) is None


def test_subqueries_count_once_by_their_best_score() -> None:
    task = SimpleNamespace(ignore_identical_ids=False, skip_first_result=False)
    qrels = {"u1_a": {"d1": 1}, "u1_b": {"d1": 1}, "u2_a": {"d2": 1}}
    run = {"u1_a": {"d1": 0.1, "d2": 0.5}, "u1_b": {"d1": 0.9}, "u2_a": {"d1": 0.9, "d2": 0.1}}
    found = query_scores(task, qrels, run, "max_over_subqueries_map_at_1000")
    assert found == {"u1": 1.0, "u2": 0.5}
    theirs = max_over_subqueries(qrels, run, [1, 1000])["max_over_subqueries_map_at_1000"]
    assert np.mean(list(found.values())) == pytest.approx(theirs)
    assert query_scores(task, qrels, run, "nauc_map_at_10_max") is None


def listed(values: list[float]) -> list[float] | None:
    """Replicates of a task whose score is a mean over rows."""
    task = SimpleNamespace(dataset={"test": None})
    return replicates(task, {"mteb_model_meta": {}, "default": {"test": values}}, "rouge_l", 7, 400)


def test_a_mean_over_rows_has_the_interval_that_statistics_gives_it() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400).tolist()
    found = listed(values)
    assert found is not None
    low, high = interval(found)
    error = 1.96 * np.std(values) / 20
    assert low == pytest.approx(np.mean(values) - error, abs=0.002)
    assert high == pytest.approx(np.mean(values) + error, abs=0.002)
    assert listed(values) == found
    assert listed(values[:9]) is None


def test_data_of_which_some_resample_has_no_score_have_no_interval() -> None:
    task = built(AbsTaskSTS, "STS", "cosine_pearson", test_set(score=[1.0] + [0.0] * 11))
    predictions = {"default": {"test": {"cosine_scores": [i / 12 for i in range(12)]}}}
    assert score_again(task, predictions, "cosine_pearson") is not None
    assert replicates(task, predictions, "cosine_pearson", seed=0) is None


columns = st.integers(10, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 5), min_size=n, max_size=n),
        st.lists(st.integers(-9, 9), min_size=n, max_size=n),
        st.lists(st.integers(0, n - 1), min_size=n, max_size=n),
    )
)


@settings(max_examples=60, deadline=None)
@given(columns)
def test_a_resample_is_scored_as_the_rows_that_were_drawn(
    drawn: tuple[list[int], list[int], list[int]],
) -> None:
    x_N, y_N = (np.asarray(values, dtype=np.float64) for values in drawn[:2])
    rows_N = np.asarray(drawn[2])
    counts_RN = np.bincount(rows_N, minlength=len(x_N))[None, :].astype(np.float64)
    a_N, b_N, relevant_N = x_N[rows_N], y_N[rows_N], x_N[rows_N] > 2
    ours = {
        "pearson": bootstrap.pearson(x_N, y_N)(counts_RN)[0],
        "spearman": bootstrap.spearman(x_N, y_N)(counts_RN)[0],
    }
    if len(set(a_N)) > 1 and len(set(b_N)) > 1:
        assert ours["pearson"] == pytest.approx(pearsonr(a_N, b_N).statistic, abs=1e-9)
        assert ours["spearman"] == pytest.approx(spearmanr(a_N, b_N).statistic, abs=1e-9)
    else:
        assert all(np.isnan(value) for value in ours.values())
    precision = bootstrap.average_precision(y_N, x_N > 2)(counts_RN)[0]
    if relevant_N.any():
        assert precision == pytest.approx(average_precision_score(relevant_N, b_N), abs=1e-9)
    else:
        assert np.isnan(precision)


def measured(values: list[float], score: float) -> ScoreInterval:
    found = listed(values)
    assert found is not None
    low, high = interval(found)
    return ScoreInterval(
        metric="m", score=score, low=low, high=high, n_examples=len(values), replicates=found
    )


def test_a_small_gain_on_every_row_is_no_noise_where_intervals_overlap() -> None:
    """Paired: what makes rows easy or hard is the same for both models."""
    values = np.random.default_rng(0).uniform(0, 0.9, 100)
    before = measured(values.tolist(), float(values.mean()))
    after = measured((values + 0.02).tolist(), float(values.mean()) + 0.02)
    assert after.low < before.high
    found = compare(before, after)
    assert found.difference == pytest.approx(0.02) and not found.within_noise
    assert found.low == pytest.approx(0.02) and found.high == pytest.approx(0.02)


def test_a_gain_on_some_rows_and_a_loss_on_others_is_noise() -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.8, 100)
    swing = np.random.default_rng(1).choice([-0.2, 0.2], 100)
    found = compare(measured(values.tolist(), 0.5), measured((values + swing).tolist(), 0.51))
    assert found.within_noise and found.low < 0 < found.high


def test_a_task_of_parts_is_the_mean_of_their_replicates(tmp_path: Path) -> None:
    sure = measured([0.5] * 20, 0.5)
    unsure = measured([0.0, 1.0] * 10, 0.5)
    both = pooled([sure, unsure], 0.5)
    assert both.n_examples == 40
    assert both.high - both.low == pytest.approx((unsure.high - unsure.low) / 2, abs=1e-4)
    write_interval(tmp_path / "intervals.json", both)
    assert read_interval(tmp_path / "intervals.json") == both
    assert read_interval(tmp_path / "none.json") is None
    (tmp_path / "intervals.json").write_text('{"metric": "m", "score": NaN}')
    with pytest.raises(DatasetError, match=r"intervals\.json"):
        read_interval(tmp_path / "intervals.json")
    with pytest.raises(DatasetError, match="replicates"):
        compare(both, both.model_copy(update={"replicates": (0.1, 0.2)}))
