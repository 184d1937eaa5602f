"""How sure a score is: bootstrap confidence intervals over the test examples.

An interval tells what other test rows, pairs or queries of the same kind would do to a score. It
does not tell of another training run, nor of other rows to fit a classifier on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from artifacts.errors import DatasetError
from evaluation import bootstrap
from evaluation.bootstrap import Floats, Statistic

LEVEL = 0.95
REPLICATES = 1000
LEAST_EXAMPLES = 10  # below, a resample is too coarse to tell anything
DIGITS = 4
_META = "mteb_model_meta"
_AGREES = 1e-4  # mteb rounds retrieval scores to 1e-5


class ScoreInterval(BaseModel):
    """A score, the interval about it and the replicates that it is from; all in [-1, 1]."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    metric: str
    score: float
    low: float
    high: float
    n_examples: int = Field(gt=0)
    replicates: tuple[float, ...] = Field(min_length=2)


@dataclass(frozen=True)
class Comparison:
    """`difference` = after - before, and its interval; within noise: 0 lies in the interval."""

    difference: float
    low: float
    high: float
    within_noise: bool


def interval(replicates: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """(low, high): the percentile interval that holds `level` of the replicates."""
    low, high = np.quantile(np.asarray(replicates), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def compare(before: ScoreInterval, after: ScoreInterval) -> Comparison:
    """Replicate by replicate: both models' are of the same resamples of the same examples.

    Raises DatasetError where their numbers of replicates differ.
    """
    if len(before.replicates) != len(after.replicates):
        raise DatasetError(
            f"{len(before.replicates)} replicates before, {len(after.replicates)} after: "
            "evaluate both models with the same version"
        )
    differences = np.asarray(after.replicates) - np.asarray(before.replicates)
    low, high = (round(bound, DIGITS) for bound in interval(differences.tolist()))
    return Comparison(round(after.score - before.score, DIGITS), low, high, low <= 0 <= high)


def measure(
    task: Any,
    predictions: Mapping[str, Any],
    metric: str,
    score: float | None,
    seed: int,
    n: int = REPLICATES,
) -> ScoreInterval | None:
    """The interval of `score`, which is that of `metric` on `task`.

    None as `replicates` has it, and where the predictions do not give that score. With no `score`
    (None or NaN: a part of a task has none of its own) it is that which they give.
    """
    parts = list(_parts(task, predictions, metric))
    again = _score(parts)
    if again is None or math.isnan(again):
        return None
    if score is None or math.isnan(score):
        score = again
    if abs(again - score) > _AGREES:
        return None
    found = _resampled(parts, seed, n)
    examples = sum(part.examples for part in parts)
    return None if found is None else _made(metric, score, examples, found)


def pooled(parts: Sequence[ScoreInterval], score: float) -> ScoreInterval:
    """Of a task whose score is the mean of its parts' (CQADupstack): each part is resampled."""
    means = np.mean([part.replicates for part in parts], axis=0)
    return _made(parts[0].metric, score, sum(p.n_examples for p in parts), means.tolist())


def _made(metric: str, score: float, examples: int, found: Sequence[float]) -> ScoreInterval:
    low, high = (round(bound, DIGITS) for bound in interval(found))
    return ScoreInterval(
        metric=metric,
        score=round(score, DIGITS),
        low=low,
        high=high,
        n_examples=examples,
        replicates=tuple(round(value, DIGITS) for value in found),
    )


def write_interval(path: Path, found: ScoreInterval) -> None:
    path.write_text(found.model_dump_json() + "\n", encoding="utf-8")


def read_interval(path: Path) -> ScoreInterval | None:
    """None where there is no such file. DatasetError for one that `write_interval` never wrote."""
    if not path.is_file():
        return None
    try:
        return ScoreInterval.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DatasetError(f"{path.name}, {where}: {first['msg']}; evaluate again") from error


def replicates(
    task: Any, predictions: Mapping[str, Any], metric: str, seed: int, n: int = REPLICATES
) -> list[float] | None:
    """n scores of `task` on resamples of its test examples, with replacement.

    `task` is mteb's, its data loaded; `predictions` are those that it wrote. The resamples hang on
    `seed` and the number of examples alone: those of two models can be compared one by one. None
    where there is no honest interval: clustering (scored on random subsets, over which a score is
    no mean of anything per text), fewer than ten examples, a metric that is not known here, data
    of which some resample has no score (no relevant pair in it, say).
    """
    return _resampled(list(_parts(task, predictions, metric)), seed, n)


def score_again(task: Any, predictions: Mapping[str, Any], metric: str) -> float | None:
    """The score of all examples, computed as those of the resamples are; None: not known here."""
    return _score(list(_parts(task, predictions, metric)))


def _resampled(parts: Sequence[_Part], seed: int, n: int) -> list[float] | None:
    if _score(parts) is None or any(part.examples < LEAST_EXAMPLES for part in parts):
        return None
    values = np.mean(
        [bootstrap.resampled(p.statistic, p.examples, seed, n) for p in parts if p.statistic],
        axis=0,
    )
    return None if np.isnan(values).any() else [float(value) for value in values]


def _score(parts: Sequence[_Part]) -> float | None:
    """mteb's score of a task is the mean over its subsets and splits."""
    if not parts or any(part.statistic is None or part.examples == 0 for part in parts):
        return None
    once = [p.statistic(np.ones((1, p.examples)))[0] for p in parts if p.statistic]
    return float(np.mean(once))


@dataclass(frozen=True)
class _Part:
    """A subset and split: how many examples, and their score by resample (None: no honest one)."""

    examples: int
    statistic: Statistic | None


def _parts(task: Any, predictions: Mapping[str, Any], metric: str) -> Iterator[_Part]:
    for subset, splits in predictions.items():
        if subset == _META:
            continue
        for split, predicted in splits.items():
            layer = task.dataset
            if subset in layer or subset != "default":
                layer = layer[subset]
            yield _part(task, layer[split], predicted, metric)


def _part(task: Any, data: Any, predicted: Any, metric: str) -> _Part:
    from mteb.abstasks import AbsTaskClassification, AbsTaskPairClassification, AbsTaskRetrieval
    from mteb.abstasks.sts import AbsTaskSTS
    from mteb.abstasks.text.summarization import AbsTaskSummarization

    from evaluation.billboard import AbsTaskBillboard

    kinds: list[tuple[type, Callable[[Any, Any, Any, str], _Part]]] = [
        (AbsTaskSTS, _sts),
        (AbsTaskBillboard, _billboard),
        (AbsTaskRetrieval, _retrieval),  # reranking too
        (AbsTaskPairClassification, _pairs),
        (AbsTaskClassification, _classification),
        (AbsTaskSummarization, _summarization),
    ]
    for kind, part in kinds:
        if isinstance(task, kind):
            return part(task, data, predicted, metric)
    if isinstance(predicted, list) and all(isinstance(value, int | float) for value in predicted):
        return _mean(predicted)  # a score a row: prompt retrieval
    return _Part(0, None)


def _mean(values: Sequence[float]) -> _Part:
    return _Part(len(values), bootstrap.mean(np.asarray(values, dtype=np.float64)))


_SCORES = {
    "cosine": "cosine_scores",
    "manhattan": "manhattan_distances",
    "euclidean": "euclidean_distances",
    "dot": "dot_scores",
    "similarity": "similarity_scores",
}


def _correlation(metric: str, predicted: Mapping[str, Any], human: Any) -> _Part:
    kind, _, name = metric.rpartition("_")
    scores = predicted.get(_SCORES.get(kind or "similarity", ""))
    by_name = {"pearson": bootstrap.pearson, "spearman": bootstrap.spearman}
    if scores is None or name not in by_name:
        return _Part(0, None)
    human_N: Floats = np.asarray(list(human), dtype=np.float64)
    return _Part(len(human_N), by_name[name](human_N, np.asarray(scores, dtype=np.float64)))


def _sts(task: Any, data: Any, predicted: Any, metric: str) -> _Part:
    return _correlation(metric, predicted, data["score"])


def _billboard(task: Any, data: Any, predicted: Any, metric: str) -> _Part:
    return _correlation(metric, predicted, data["human_score"])


def _pairs(task: Any, data: Any, predicted: Any, metric: str) -> _Part:
    kind, _, name = metric.rpartition("_")
    labels = data[0][task.label_column_name] if len(data) == 1 else data[task.label_column_name]
    relevant_N = np.asarray(list(labels)) == 1
    kinds = list(_SCORES) if kind == "max" else [kind]
    if name != "ap" or not set(kinds) <= set(_SCORES):
        return _Part(0, None)
    statistics = []
    for of_kind in kinds:
        sign = -1.0 if of_kind in ("manhattan", "euclidean") else 1.0
        scores_N = sign * np.asarray(predicted[_SCORES[of_kind]], dtype=np.float64)
        statistics.append(bootstrap.average_precision(scores_N, relevant_N))
    return _Part(len(relevant_N), bootstrap.highest(statistics))


def _classification(task: Any, data: Any, predicted: Any, metric: str) -> _Part:
    """A row's score is the share of the experiments that got it right."""
    if metric != "accuracy" or task.is_cross_validation:
        return _Part(0, None)
    labels_N = np.asarray(list(data[task.label_column_name]))
    return _mean(np.mean([np.asarray(one) == labels_N for one in predicted], axis=0).tolist())


def _summarization(task: Any, data: Any, predicted: Any, metric: str) -> _Part:
    """A text's score is as the task's own evaluator has it, asked for that text alone.

    (That of SummEval means correlations and their p-values: the first version's error, on which
    all published figures are.)
    """
    texts = range(len(predicted["human_scores"]))
    alone = [{name: [scores[i]] for name, scores in predicted.items()} for i in texts]
    return _mean([task.evaluator._calculate_metrics(None, one)[metric] for one in alone])


def _retrieval(task: Any, data: Any, predicted: Any, metric: str) -> _Part:
    from evaluation.queries import query_scores

    scores = query_scores(task, data["relevant_docs"], predicted, metric)
    return _Part(0, None) if scores is None else _mean([scores[query] for query in sorted(scores)])
