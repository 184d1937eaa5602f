"""Scores before and after: rows, averages as the paper takes them, scores.json, markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluation.intervals import Comparison
from evaluation.records import CATEGORIES, Category, EvalTask

_METRICS = {
    "cosine_spearman": "Spearman, cosine",
    "cosine_pearson": "Pearson, cosine",
    "accuracy": "accuracy",
    "v_measure": "V-measure",
    "ndcg_at_10": "nDCG@10",
    "map_at_1000": "MAP",
    "max_over_subqueries_map_at_1000": "MAP, best subquery",
    "max_ap": "average precision",
    "rouge_l": "ROUGE-L",
    "same_label_at_8": "same label, 8 nearest",
}


@dataclass(frozen=True)
class ScoreRow:
    """The main score of one task by two models, as mteb has it (-1 to 1); None: not evaluated.

    Intervals are (low, high), None where the score allows none. `reduced` says what was made
    smaller or otherwise than in the paper; where it says nothing the scores compare with its own.
    """

    task: EvalTask
    before: float | None
    after: float | None
    before_interval: tuple[float, float] | None = None
    after_interval: tuple[float, float] | None = None
    comparison: Comparison | None = None
    reduced: str = ""

    @property
    def metric(self) -> str:
        return _METRICS.get(self.task.metric, self.task.metric)


@dataclass(frozen=True)
class NotRun:
    """A task without a score, and why."""

    task: str
    reason: str


@dataclass(frozen=True)
class Robustness:
    """The main score of one task under each paraphrase of its instruction, -1 to 1."""

    task: str
    category: Category
    scores: tuple[float, ...]

    @property
    def best(self) -> float:
        return max(self.scores)

    @property
    def worst(self) -> float:
        return min(self.scores)


@dataclass(frozen=True)
class Reuse:
    """Texts that the tasks asked embeddings of, how many of them differ, how many were encoded.

    Two equal texts under two instructions differ.
    """

    asked: int
    distinct: int
    encoded: int

    @property
    def share(self) -> float:
        """Of the embeddings asked for, the share that was not computed for the asking."""
        return 1 - self.encoded / self.asked if self.asked else 0.0


@dataclass(frozen=True)
class Average:
    """Mean over `count` tasks or categories; a side is None where one of them has no score."""

    name: str
    count: int
    before: float | None
    after: float | None


def in_order(rows: Iterable[ScoreRow]) -> list[ScoreRow]:
    """By category in the paper's order; within a category as given."""
    return sorted(rows, key=lambda row: CATEGORIES.index(row.task.category))


def averages(rows: Sequence[ScoreRow]) -> tuple[list[Average], Average]:
    """(one mean per category, their unweighted mean): the paper's Avg, over what is in `rows`."""
    categories = []
    for category in CATEGORIES:
        of_it = [row for row in rows if row.task.category == category]
        if of_it:
            categories.append(_average(category, of_it))
    return categories, _average("Average over categories", categories)


def _average(name: str, parts: Sequence[ScoreRow] | Sequence[Average]) -> Average:
    return Average(
        name, len(parts), _mean([p.before for p in parts]), _mean([p.after for p in parts])
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def percent(score: float | None) -> str:
    return "–" if score is None else f"{100 * score:.2f}"


def difference(before: float | None, after: float | None) -> str:
    return "–" if before is None or after is None else f"{100 * (after - before):+.2f}"


def scores_json(rows: Sequence[ScoreRow], models: dict[str, dict[str, str]]) -> str:
    """scores.json: tasks, categories and average, scores from -1 to 1 rounded to 1e-6."""
    categories, average = averages(rows)
    value = {
        "models": models,
        "tasks": [
            {
                "task": row.task.name,
                "category": row.task.category,
                "metric": row.task.metric,
                **_sides(row),
                **_sureness(row),
                "note": row.task.note,
            }
            for row in in_order(rows)
        ],
        "categories": {part.name: {"tasks": part.count, **_sides(part)} for part in categories},
        "average": {"categories": average.count, **_sides(average)},
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _sides(part: ScoreRow | Average) -> dict[str, Any]:
    return {
        side: None if score is None else round(score, 6)
        for side, score in (("before", part.before), ("after", part.after))
    }


def _sureness(row: ScoreRow) -> dict[str, Any]:
    """Intervals and comparison, where there are some."""
    found: dict[str, Any] = {
        "before_interval": row.before_interval,
        "after_interval": row.after_interval,
        "comparison": None if row.comparison is None else asdict(row.comparison),
        "reduced": row.reduced or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def scores_table(rows: Sequence[ScoreRow]) -> str:
    """The scores as a markdown table, times 100, the average last."""
    _, average = averages(rows)
    lines = [
        "| task | category | metric | before | after | difference |",
        "|---|---|---|---:|---:|---:|",
    ]
    for row in in_order(rows):
        cells = [row.task.name, row.task.category, row.metric, *_cells(row)]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| {average.name} ({average.count}) | | | {' | '.join(_cells(average))} |")
    return "\n".join(lines) + "\n"


def _cells(part: ScoreRow | Average) -> list[str]:
    return [
        percent(part.before),
        percent(part.after),
        difference(part.before, part.after),
    ]
