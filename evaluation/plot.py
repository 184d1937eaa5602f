"""The report's pictures: scores, categories, robustness, ablations, how the training went.

Equal arguments give equal bytes: no date, fixed ids.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from evaluation.curve import CurvePoint, smoothed
from evaluation.records import CATEGORIES
from evaluation.scores import Average, Robustness, ScoreRow, difference, in_order

_BEFORE, _AFTER, _WORSE = "#8a94a6", "#1f6fb2", "#b5472f"
_GRID, _TEXT = "#e3e6eb", "#1c2430"
_SERIES = ("#1f6fb2", "#d98e2b", "#3c8d5a", "#8a5aa8", "#8a94a6", "#b5472f")


def plot_scores(rows: Sequence[ScoreRow], format: str = "svg") -> bytes:
    """A dumbbell plot, `svg` or `png`: a line per task from the one score to the other.

    A difference within noise is grey.
    """
    ordered = [r for r in in_order(rows) if r.before is not None or r.after is not None]
    figure = Figure(figsize=(8.0, 1.1 + 0.34 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    for height, row in enumerate(reversed(ordered)):
        _draw(axes, height, row)
    axes.set_yticks(range(len(ordered)), [row.task.name for row in reversed(ordered)])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlabel("main score, times 100")
    axes.margins(x=0.14)
    _bare(axes, "x")
    axes.tick_params(left=False)
    if any(row.before is not None for row in ordered):
        axes.plot([], [], "o", color="white", markeredgecolor=_BEFORE, label="before")
        marks = {"after": _AFTER, "after, lower": _WORSE, "after, within noise": _BEFORE}
        for label, colour in marks.items():
            axes.plot([], [], "o", color=colour, label=label)
        figure.legend(loc="outside upper right", ncols=4, frameon=False, fontsize=9)
    return _bytes(figure, format)


def _draw(axes: Any, height: int, row: ScoreRow) -> None:
    before = None if row.before is None else 100 * row.before
    after = None if row.after is None else 100 * row.after
    colour, noise = _AFTER, row.comparison is not None and row.comparison.within_noise
    if before is not None and after is not None:
        colour = _BEFORE if noise else _AFTER if after >= before else _WORSE
        axes.plot([before, after], [height, height], color=colour, linewidth=2.5, alpha=0.5)
    if before is not None:
        axes.plot(before, height, "o", color="white", markeredgecolor=_BEFORE, markersize=8)
    if after is not None:
        axes.plot(after, height, "o", color=colour, markersize=8)
    rightmost = max(value for value in (before, after) if value is not None)
    text = difference(row.before, row.after)
    if text != "–":
        text += " (within noise)" if noise else ""
        _beside(axes, rightmost, height, text, _BEFORE if noise else _TEXT)


def plot_categories(
    categories: Sequence[Average], paper: Sequence[float | None], format: str = "svg"
) -> bytes:
    """Bars of each category's mean, before and after; `svg` or `png`.

    `paper`: its figure for each category, times 100, drawn as a line; None where ours is not of
    the same tasks.
    """
    count = len(categories)
    sides = [side for side in ("before", "after") if any(getattr(c, side) for c in categories)]
    figure = Figure(figsize=(8.0, 1.3 + 0.55 * count), layout="constrained")
    axes = figure.add_subplot()
    middle_C = np.arange(count)[::-1]
    thickness = 0.76 / max(1, len(sides))
    for position, side in enumerate(sides):
        height_C = middle_C + 0.38 - thickness * (position + 0.5)
        values = [100 * (getattr(c, side) or 0) for c in categories]
        colour = {"before": _BEFORE, "after": _AFTER}[side]
        bars = axes.barh(height_C, values, 0.92 * thickness, color=colour, label=side)
        known = [getattr(c, side) is not None for c in categories]
        shown = [f"{v:.1f}" if k else "–" for v, k in zip(values, known, strict=True)]
        axes.bar_label(bars, shown, padding=3, fontsize=9)
    label = "paper's INSTRUCTOR 335M"
    for height, figure_of_paper in zip(middle_C, paper, strict=True):
        if figure_of_paper is not None:
            ends = (height - 0.42, height + 0.42)
            axes.vlines(figure_of_paper, *ends, color=_TEXT, linewidth=1.5, label=label)
            label = "_"
    names = [f"{c.name} ({c.count})" for c in categories]
    axes.set_yticks(middle_C, names)
    axes.set_xlabel("mean of the main scores, times 100; in brackets: of how many tasks")
    axes.margins(x=0.1)
    _bare(axes, "x")
    axes.tick_params(left=False)
    if len(sides) > 1 or label == "_":
        figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    return _bytes(figure, format)


def plot_robustness(tasks: Sequence[Robustness], format: str = "svg") -> bytes:
    """Scores under each paraphrase (Fig. 4), `svg` or `png`: from worst to best, a row a task.

    Every task has a score at least.
    """
    ordered = sorted(tasks, key=lambda task: CATEGORIES.index(task.category))
    figure = Figure(figsize=(8.0, 1.1 + 0.34 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    for height, task in enumerate(reversed(ordered)):
        scores = [100 * score for score in task.scores]
        worst, best = min(scores), max(scores)
        axes.plot([worst, best], [height, height], color=_AFTER, linewidth=6, alpha=0.25)
        axes.plot(scores, [height] * len(scores), "o", color=_AFTER, markersize=5, alpha=0.7)
        _beside(axes, best, height, f"{best - worst:.2f}", _TEXT)
    names = [f"{task.task}\n{task.category}" for task in reversed(ordered)]
    if len(ordered) > 12:  # rows are too many for two lines each
        names = [task.task for task in reversed(ordered)]
    axes.set_yticks(range(len(ordered)), names, fontsize=9)
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlabel("main score, times 100, a point a paraphrase; beside it: best less worst")
    axes.margins(x=0.12)
    _bare(axes, "x")
    axes.tick_params(left=False)
    return _bytes(figure, format)


def plot_ablation(
    title: str,
    groups: Sequence[str],
    series: Sequence[str],
    ours: Sequence[Sequence[float | None]],
    paper: Sequence[Sequence[float | None]],
    format: str = "svg",
) -> bytes:
    """Grouped bars of ours, and beside them the paper's in the same order; `svg` or `png`.

    `ours` and `paper` have a row a series and a column a group, times 100; None: not known. A side
    of which nothing is known is left out, unless that is both.
    """
    sides = [("this run", ours), ("the paper", paper)]
    known = [s for s in sides if any(v is not None for row in s[1] for v in row)] or sides[:1]
    width = 8.0 if len(known) == 1 else 5.0 + 0.35 * len(groups) * len(series)
    figure = Figure(figsize=(min(12.0, max(8.0, width)), 4.2), layout="constrained")
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(1, len(known), sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, known, strict=True):
        axes.set_title(name, fontsize=11)
        _grouped(axes, groups, series, values)
    panels[0].set_ylabel("score, times 100")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return _bytes(figure, format)


def _grouped(
    axes: Any,
    groups: Sequence[str],
    series: Sequence[str],
    values: Sequence[Sequence[float | None]],
) -> None:
    thickness = 0.8 / len(series)
    for position, (name, row) in enumerate(zip(series, values, strict=True)):
        at_G = np.arange(len(groups)) - 0.4 + thickness * (position + 0.5)
        heights = [0.0 if value is None else value for value in row]
        colour = _SERIES[position % len(_SERIES)]
        bars = axes.bar(at_G, heights, 0.92 * thickness, color=colour, label=name)
        shown = ["" if value is None else f"{value:.1f}" for value in row]
        axes.bar_label(bars, shown, padding=2, fontsize=8, rotation=90)
    long = max(len(group) for group in groups) * len(groups) > 40
    turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if long else {}
    axes.set_xticks(range(len(groups)), groups, fontsize=9, **turned)
    axes.margins(y=0.15)
    _bare(axes, "y")


def plot_curve(points: Sequence[CurvePoint], format: str = "svg") -> bytes:
    """Loss, held-out scores where there are any, and learning rate, by step; `svg` or `png`."""
    scored = [(point.step, point.held_out) for point in points if point.held_out is not None]
    heights = [2.2, 1.5, 1.0] if scored else [2.2, 1.0]
    figure = Figure(figsize=(8.0, 0.5 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), sharex=True, height_ratios=heights)
    steps, losses = [point.step for point in points], [point.loss for point in points]
    panels[0].plot(steps, losses, color=_BEFORE, linewidth=0.7, alpha=0.6, label="one batch")
    panels[0].plot(steps, smoothed(losses), color=_AFTER, linewidth=1.8, label="running mean")
    panels[0].set_ylabel("loss")
    if scored:
        at = [step for step, _ in scored]
        ndcg, accuracy = ([getattr(s, n) for _, s in scored] for n in ("ndcg_at_10", "accuracy"))
        panels[1].plot(at, ndcg, "o-", color=_AFTER, markersize=4, label="nDCG@10")
        panels[1].plot(at, accuracy, "o--", color=_BEFORE, markersize=4, label="in-batch accuracy")
        panels[1].set_ylim(0, 1.02)
        panels[1].set_ylabel("held-out")
    panels[-1].plot(steps, [point.lr for point in points], color=_AFTER, linewidth=1.8)
    panels[-1].set_ylim(bottom=0)
    panels[-1].set_ylabel("learning rate")
    panels[-1].set_xlabel("step")
    for axes in panels:
        _bare(axes, "both")
    for axes in panels[:-1]:
        axes.legend(frameon=False, ncols=2, fontsize=9)
    figure.align_ylabels()
    return _bytes(figure, format)


def _beside(axes: Any, x: float, y: float, text: str, colour: str) -> None:
    axes.annotate(
        text, (x, y), (9, 0), textcoords="offset points", va="center", fontsize=9, color=colour
    )


def _bare(axes: Any, grid: str) -> None:
    axes.grid(axis=grid, color=_GRID)
    axes.set_axisbelow(True)
    hidden = ["top", "right", "left"] if grid == "x" else ["top", "right"]
    axes.spines[hidden].set_visible(False)


def _bytes(figure: Figure, format: str) -> bytes:
    picture = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "medi"}):
        figure.savefig(picture, format=format, dpi=120, metadata=metadata)
    return picture.getvalue()
