"""One picture of the scores before and after: a line per task from the one to the other."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from evaluation.scores import ScoreRow, difference, in_order

_BEFORE, _AFTER, _WORSE = "#8a94a6", "#1f6fb2", "#b5472f"


def plot_scores(rows: Sequence[ScoreRow], format: str = "svg") -> bytes:
    """A dumbbell plot, `svg` or `png`. Equal rows give equal bytes: no date, fixed ids."""
    ordered = [r for r in in_order(rows) if r.before is not None or r.after is not None]
    figure = Figure(figsize=(8.0, 1.1 + 0.34 * len(ordered)), layout="constrained")
    axes = figure.add_subplot()
    for height, row in enumerate(reversed(ordered)):
        _draw(axes, height, row)
    axes.set_yticks(range(len(ordered)), [row.task.name for row in reversed(ordered)])
    axes.set_ylim(-0.6, len(ordered) - 0.4)
    axes.set_xlabel("main score, times 100")
    axes.margins(x=0.12)
    axes.grid(axis="x", color="#e3e6eb")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.plot([], [], "o", color="white", markeredgecolor=_BEFORE, label="before")
    axes.plot([], [], "o", color=_AFTER, label="after")
    axes.plot([], [], "o", color=_WORSE, label="after, lower than before")
    figure.legend(loc="outside upper right", ncols=3, frameon=False)
    picture = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": "medi"}):
        figure.savefig(picture, format=format, dpi=120, metadata=metadata)
    return picture.getvalue()


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
