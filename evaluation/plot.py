"""The report's pictures: scores before and after, and how the training went.

Equal arguments give equal bytes: no date, fixed ids.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from evaluation.curve import CurvePoint, smoothed
from evaluation.scores import ScoreRow, difference, in_order

_BEFORE, _AFTER, _WORSE = "#8a94a6", "#1f6fb2", "#b5472f"
_GRID = "#e3e6eb"


def plot_scores(rows: Sequence[ScoreRow], format: str = "svg") -> bytes:
    """A dumbbell plot, `svg` or `png`: a line per task from the one score to the other."""
    ordered = [r for r in in_order(rows) if r.before is not None or r.after is not None]
    figure = Figure(figsize=(8.0, 1.1 + 0.34 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    for height, row in enumerate(reversed(ordered)):
        _draw(axes, height, row)
    axes.set_yticks(range(len(ordered)), [row.task.name for row in reversed(ordered)])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlabel("main score, times 100")
    axes.margins(x=0.12)
    axes.grid(axis="x", color=_GRID)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.plot([], [], "o", color="white", markeredgecolor=_BEFORE, label="before")
    axes.plot([], [], "o", color=_AFTER, label="after")
    axes.plot([], [], "o", color=_WORSE, label="after, lower than before")
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    return _bytes(figure, format)


def _draw(axes: matplotlib.axes.Axes, height: int, row: ScoreRow) -> None:
    before = None if row.before is None else 100 * row.before
    after = None if row.after is None else 100 * row.after
    if before is not None and after is not None:
        colour = _AFTER if after >= before else _WORSE
        axes.plot([before, after], [height, height], color=colour, linewidth=2.5, alpha=0.5)
    if before is not None:
        axes.plot(before, height, "o", color="white", markeredgecolor=_BEFORE, markersize=8)
    if after is not None:
        worse = before is not None and after < before
        axes.plot(after, height, "o", color=_WORSE if worse else _AFTER, markersize=8)
    rightmost = max(value for value in (before, after) if value is not None)
    text = difference(row.before, row.after)
    if text != "–":
        axes.annotate(
            text, (rightmost, height), (9, 0), textcoords="offset points", va="center", fontsize=9
        )


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
        axes.grid(color=_GRID)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[:-1]:
        axes.legend(frameon=False, ncols=2, fontsize=9)
    figure.align_ylabels()
    return _bytes(figure, format)


def _bytes(figure: Figure, format: str) -> bytes:
    picture = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "medi"}):
        figure.savefig(picture, format=format, dpi=120, metadata=metadata)
    return picture.getvalue()
