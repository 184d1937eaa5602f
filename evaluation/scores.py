"""Scores before and after: rows, averages as the paper takes them, scores.json, markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.records import CATEGORIES, EvalTask

_METRICS = {
    "cosine_spearman": "Spearman, cosine",
    "cosine_pearson": "Pearson, cosine",
    "accuracy": "accuracy",
    "v_measure": "V-measure",
    "ndcg_at_10": "nDCG@10",
}


@dataclass(frozen=True)
class ScoreRow:
    """The main score of one task by two models, as mteb has it (-1 to 1); None: not evaluated."""

    task: EvalTask
    before: float | None
    after: float | None

    @property
    def metric(self) -> str:
        return _METRICS[self.task.metric]


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
