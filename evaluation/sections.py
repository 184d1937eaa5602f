"""What the report says of scores: beside the paper's, the change, by category, robustness."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from evaluation.baselines import BASELINES, DOMAIN_SHIFT, MODEL_CARDS, Mean, Standing, standing
from evaluation.page import Cell, Cells, Row, heading, number, picture, table, text
from evaluation.records import CATEGORIES
from evaluation.scores import (
    Average,
    Robustness,
    ScoreRow,
    averages,
    difference,
    in_order,
    percent,
)

_SHORT = ("Retr.", "Rerank.", "Clust.", "Pair", "Class.", "STS", "Sum.", "Billb.", "Prompt")


def main_table(
    rows: Sequence[ScoreRow], models: Sequence[tuple[str, str]], paper: Collection[str]
) -> list[str]:
    """The paper's main table with ours above it; `models` are (side, name) of ours."""
    heads: Cells = ["model", *(number(name) for name in (*_SHORT, "Avg", "MTEB-56"))]
    ours = [
        Row(
            [
                Cell(name, small=side if len(models) > 1 else "this model"),
                *_standing_cells(standing(rows, side, paper)),
            ],
            "ours",
        )
        for side, name in reversed(models)
    ]
    theirs = [
        Row([f"{line.name} {line.size}", *(number(f"{figure:.1f}") for figure in line.figures)])
        for line in BASELINES
    ]
    cards = ", ".join(f"{size} {score}" for size, score in MODEL_CARDS.items())
    return [
        heading("Beside the paper"),
        text(
            "A figure of ours compares with the paper's only where every task of the category was "
            "run, at full size. Any other is grey, with how many of the category's tasks it is "
            "over, and does not compare. Avg is the mean of the nine categories, and is there "
            "only with all of them."
        ),
        table("Main table", heads, [*ours, *theirs]),
        text(
            "Figures not marked as ours: arXiv 2212.09741, main table. The released INSTRUCTOR "
            f"models' cards have for MTEB-56: {cards}.",
            "quiet",
        ),
        *_domain_shift(rows),
    ]


def _standing_cells(ours: Standing) -> list[Cell]:
    average = ours.average
    whole = average.whole and average.score is not None
    return [
        *(_mean_cell(mean) for mean in ours.categories),
        number(f"{average.score:.1f}") if whole else number("–", "quiet"),
        _mean_cell(ours.mteb_56),
    ]


def _mean_cell(mean: Mean) -> Cell:
    if mean.score is None:
        return number("–", "quiet")
    if mean.whole:
        return number(f"{mean.score:.1f}")
    cut = ", reduced" if mean.reduced else ""
    return number(f"{mean.score:.1f}", "quiet", f"({mean.done}/{mean.total}{cut})")


def _domain_shift(rows: Sequence[ScoreRow]) -> list[str]:
    """Table 3, where one of its tasks was run."""
    found = {row.task.name: row for row in rows}
    shown = [shift for shift in DOMAIN_SHIFT if shift.task in found]
    if not shown:
        return []
    body = [
        Row(
            [
                Cell(shift.domain, small=", ".join(_named(found[shift.task]))),
                number(percent(found[shift.task].before)),
                number(percent(found[shift.task].after)),
                number(f"{shift.before:.1f}"),
                number(f"{shift.after:.1f}"),
            ]
        )
        for shift in shown
    ]
    heads: Cells = ["domain", *map(number, ("before", "after", "GTR-Large", "INSTRUCTOR"))]
    return [
        text("Domains of which MEDI holds little, beside the paper's Table 3:"),
        table("Domain shift", heads, body),
    ]


def _named(row: ScoreRow) -> list[str]:
    return [row.task.name, row.reduced] if row.reduced else [row.task.name]


def change(rows: Sequence[ScoreRow], before: str | None, svg: bytes) -> list[str]:
    """Scores by task, against `before` where there is one."""
    heads: Cells = ["task"]
    heads += [number("before"), number("after")] if before else [number("score")]
    heads += [number("change"), number("95% interval"), ""] if before else []
    heads += ["category", "metric"]
    body = [Row(_task_cells(row, before is not None)) for row in in_order(rows)]
    compared = (
        " Both models are compared on the same resamples. Where the interval of the change holds 0 "
        "the change is within noise: other test examples might turn it round."
    )
    about = (
        "Small beneath a score: its 95% bootstrap interval over the test examples."
        f"{compared if before else ''} The intervals do not tell of what another training run "
        "would change. No interval: the metric allows none (clustering), or the task has too few "
        "examples."
    )
    return [
        heading(f"Change against {before}" if before else "Scores by task"),
        picture("Main score of each task", svg),
        table("Scores by task", heads, body),
        text(about, "quiet"),
    ]


def _task_cells(row: ScoreRow, compared: bool) -> Cells:
    cells: Cells = [Cell(row.task.name, small=row.reduced)]
    cells += [number(percent(row.before), small=_range(row.before_interval))] if compared else []
    cells += [number(percent(row.after), small=_range(row.after_interval))]
    cells += _change_cells(row) if compared else []
    return [*cells, row.task.category, row.metric]


def _change_cells(row: ScoreRow) -> Cells:
    found = row.comparison
    changed = difference(row.before, row.after)
    if found is None:
        says = "" if changed == "–" else "no interval"
        return [number(changed), number("–", "quiet"), Cell(says, "quiet verdict")]
    kind, says = ("better", "higher") if found.difference > 0 else ("worse", "lower")
    if found.within_noise:
        kind, says = "quiet", "within noise"
    bounds = f"{100 * found.low:+.2f} to {100 * found.high:+.2f}"
    return [number(changed, kind), number(bounds, kind), Cell(says, f"{kind} verdict")]


def _range(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{100 * bounds[0]:.1f}–{100 * bounds[1]:.1f}"


def by_category(rows: Sequence[ScoreRow], before: bool, svg: bytes) -> list[str]:
    categories, average = averages(rows)
    parts: list[tuple[str, str, Average, str]] = [
        (part.name, str(part.count), part, "") for part in categories
    ]
    parts.append((f"{average.name} ({average.count})", "", average, "mean"))
    heads: Cells = ["category", number("tasks")]
    heads += [number(name) for name in (("before", "after", "change") if before else ("score",))]
    body = []
    for name, count, part, kind in parts:
        cells: Cells = [name, number(count)]
        cells += [number(percent(part.before))] if before else []
        cells += [number(percent(part.after))]
        cells += [number(difference(part.before, part.after))] if before else []
        body.append(Row(cells, kind))
    return [
        heading("By category"),
        picture("Mean score by category", svg),
        table("By category", heads, body),
        text(
            "All tasks of this run, those that are not the paper's too. The last line is the "
            "unweighted mean of the categories above it, as the paper takes it.",
            "quiet",
        ),
    ]


def paper_marks(rows: Sequence[ScoreRow], paper: Collection[str]) -> list[float | None]:
    """The paper's figure for each category in `rows`, where ours is of just its tasks."""
    (instructor,) = (line for line in BASELINES if (line.name, line.size) == ("INSTRUCTOR", "335M"))
    ours = standing(rows, "after", paper).categories
    marks: list[float | None] = []
    for category, mean, theirs in zip(CATEGORIES, ours, instructor.categories, strict=True):
        of_it = [row for row in rows if row.task.category == category]
        if of_it:
            marks.append(theirs if mean.whole and len(of_it) == mean.total else None)
    return marks


def robustness(tasks: Sequence[Robustness], svg: bytes) -> list[str]:
    body = []
    for category in CATEGORIES:
        of_it = [task for task in tasks if task.category == category]
        if not of_it:
            continue
        best, worst = (sum(scores) / len(of_it) for scores in _extremes(of_it))
        name = f"{category} (mean of {len(of_it)})"
        body.append(Row([name, Cell(""), *_spread(best, worst)], "group"))
        body += [
            Row([task.task, number(str(len(task.scores))), *_spread(task.best, task.worst)])
            for task in of_it
        ]
    heads: Cells = ["task", *map(number, ("paraphrases", "best", "worst", "spread"))]
    return [
        heading("Robustness to the wording"),
        text(
            "Each task under paraphrases of its instruction (the paper's Fig. 4). Spread: best "
            "less worst. No wording was chosen by its score."
        ),
        picture("Scores under each paraphrase, by task", svg),
        table("Robustness", heads, body),
    ]


def _extremes(tasks: Sequence[Robustness]) -> tuple[list[float], list[float]]:
    return [task.best for task in tasks], [task.worst for task in tasks]


def _spread(best: float, worst: float) -> list[Cell]:
    return [number(percent(value)) for value in (best, worst, best - worst)]


def notes(rows: Sequence[ScoreRow]) -> list[str]:
    """What the catalog says of a task."""
    noted = [Row([row.task.name, Cell(row.task.note.strip(), "long")]) for row in in_order(rows)
             if row.task.note]  # fmt: skip
    if not noted:
        return []
    return [heading("What to know of these tasks"), table("Notes", ["task", ""], noted)]
