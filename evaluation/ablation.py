"""An analysis of the paper beside ours: ablation.json, figure.png and one page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluation.page import Cell, Row, heading, number, page, picture, table, text
from evaluation.plot import plot_ablation

# (group, series) -> score times 100.
Scores = Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Bars:
    """What the figure shows. The paper's side is empty where it draws a figure without numbers."""

    ours: Scores
    paper: Scores

    @property
    def groups(self) -> list[str]:
        return list(dict.fromkeys(group for group, _ in (*self.ours, *self.paper)))

    @property
    def series(self) -> list[str]:
        return list(dict.fromkeys(series for _, series in (*self.ours, *self.paper)))

    def rows(self, scores: Scores) -> list[list[float | None]]:
        """A row a series, a column a group."""
        return [[scores.get((group, one)) for group in self.groups] for one in self.series]


def write_ablation(out: Path, title: str, claim: str, bars: Bars) -> Path:
    """Writes into `out`; returns the page. `claim`: what the paper concludes, in a sentence."""
    out.mkdir(parents=True, exist_ok=True)
    values = [
        {"group": group, "series": series, "ours": bars.ours.get((group, series)),
         "paper": bars.paper.get((group, series))}
        for group in bars.groups
        for series in bars.series
        if (group, series) in bars.ours or (group, series) in bars.paper
    ]  # fmt: skip
    record = {"title": title, "claim": claim, "scores": values}
    written = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    (out / "ablation.json").write_text(written, encoding="utf-8")
    if bars.ours:
        (out / "figure.png").write_bytes(_figure(title, bars, "png"))
    path = out / "report.html"
    path.write_text(_page(title, claim, bars), encoding="utf-8")
    return path


def _figure(title: str, bars: Bars, format: str) -> bytes:
    ours, paper = bars.rows(bars.ours), bars.rows(bars.paper)
    return plot_ablation(title, bars.groups, bars.series, ours, paper, format)


def _page(title: str, claim: str, bars: Bars) -> str:
    rows = [
        Row([group, series, number(_told(bars.ours.get((group, series)))),
             number(_told(bars.paper.get((group, series))))])
        for group in bars.groups
        for series in bars.series
        if (group, series) in bars.ours or (group, series) in bars.paper
    ]  # fmt: skip
    heads: list[Cell | str] = ["", "", number("this run"), number("the paper")]
    body = [
        f"<h1>{title}</h1>",
        text(f"The paper: {claim}"),
        *([] if bars.paper else [text("Its figure gives no numbers to draw beside.", "quiet")]),
        *([picture(title, _figure(title, bars, "svg"))] if bars.ours else []),
        heading("Scores, times 100"),
        table(title, heads, rows),
    ]
    return page(title, body)


def _told(score: float | None) -> str:
    return "–" if score is None else f"{score:.2f}"
