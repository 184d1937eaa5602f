"""The report: report.html (one file, nothing to load), scores.json and pictures/, beside results/.

What is empty in a `Report` is left out of the page. Equal reports give equal bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from artifacts.errors import InputError
from artifacts.models import ModelRef
from evaluation import run_sections, sections
from evaluation.curve import CurvePoint, read_curve
from evaluation.model import result_name, takes_instructions
from evaluation.page import page
from evaluation.paper import PAPER_70
from evaluation.plot import plot_categories, plot_curve, plot_robustness, plot_scores
from evaluation.records import EvaluationOptions
from evaluation.run_sections import Reported
from evaluation.scores import (
    NotRun,
    Reuse,
    Robustness,
    ScoreRow,
    averages,
    in_order,
    scores_json,
)

PICTURES = "pictures"
_NAMES = ("scores", "categories", "robustness", "curve")


@dataclass(frozen=True)
class Report:
    """All that a report tells.

    `rows` are the tasks that were asked for and have a score of a model at least; `not_run` those
    that have none. `instructions`: task -> (query, document), as they were given. `medi` is the
    published folder that `after` was trained on, where it is known. `paper` names the paper's
    tasks. `command` is what a reader types to get the same scores.
    """

    rows: Sequence[ScoreRow]
    before: ModelRef | None
    after: ModelRef
    options: EvaluationOptions
    command: str
    not_run: Sequence[NotRun] = ()
    robustness: Sequence[Robustness] = ()
    reuse: Reuse | None = None
    instructions: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    medi: Path | None = None
    paper: Collection[str] = PAPER_70


def write_report(out: Path, report: Report) -> Path:
    """Write report.html, scores.json and pictures/*.png into `out`; returns the first's path."""
    report = replace(report, rows=_marked(report))
    models = [
        Reported(side, result_name(model), model.key, takes_instructions(model, report.options))
        for side, model in (("before", report.before), ("after", report.after))
        if model is not None
    ]
    keys = {m.side: {"name": m.name, "key": m.key} for m in models}
    (out / "scores.json").write_text(scores_json(report.rows, keys), encoding="utf-8")
    try:
        curve: list[CurvePoint] | str = read_curve(report.after.folder)
    except InputError as error:
        curve = str(error)
    plots = _plots(report, curve)
    _write_pictures(out / PICTURES, plots)
    pictures = {name: plot("svg") for name, plot in plots.items()}
    target, partial = out / "report.html", out / "report.html.partial"
    partial.write_text(_page(report, models, curve, pictures), encoding="utf-8")
    return partial.replace(target)


def _marked(report: Report) -> list[ScoreRow]:
    """In order; a cap on the test rows makes every task a reduced one."""
    rows = in_order(report.rows)
    if report.options.max_texts is None:
        return rows
    cap = f"at most {report.options.max_texts} test rows"
    return [row if row.reduced else replace(row, reduced=cap) for row in rows]


def _plots(report: Report, curve: list[CurvePoint] | str) -> dict[str, Callable[[str], bytes]]:
    """Name -> from a format to the picture."""
    rows = report.rows
    plots: dict[str, Callable[[str], bytes]] = {}
    if any(row.before is not None or row.after is not None for row in rows):
        marks = sections.paper_marks(rows, report.paper)
        plots["scores"] = lambda format: plot_scores(rows, format)
        plots["categories"] = lambda format: plot_categories(averages(rows)[0], marks, format)
    if report.robustness:
        plots["robustness"] = lambda format: plot_robustness(report.robustness, format)
    if not isinstance(curve, str) and len(curve) > 1:
        plots["curve"] = lambda format: plot_curve(curve, format)
    return plots


def _write_pictures(folder: Path, plots: Mapping[str, Callable[[str], bytes]]) -> None:
    folder.mkdir(exist_ok=True)
    for name in _NAMES:
        (folder / f"{name}.png").unlink(missing_ok=True)  # of a report before this
    for name, plot in plots.items():
        (folder / f"{name}.png").write_bytes(plot("png"))


def _page(
    report: Report,
    models: Sequence[Reported],
    curve: list[CurvePoint] | str,
    pictures: Mapping[str, bytes],
) -> str:
    rows, paper = report.rows, report.paper
    before = models[0].name if len(models) > 1 else None
    body = run_sections.headline(rows, models, paper, report.reuse, report.options)
    if pictures.keys() & {"scores"}:
        named = [(model.side, model.name) for model in models]
        body += sections.main_table(rows, named, paper)
        body += sections.change(rows, before, pictures["scores"])
        body += sections.by_category(rows, before is not None, pictures["categories"])
    if report.robustness:
        body += sections.robustness(report.robustness, pictures["robustness"])
    body += run_sections.training(
        report.after.folder, report.medi, curve, pictures.get("curve", b"")
    )
    body += run_sections.what_ran(rows, report.not_run, paper, report.reuse)
    body += sections.notes(rows)
    body += run_sections.models_and_instructions(models, rows, report.instructions)
    body += run_sections.again(report.command)
    return page(f"Evaluation of {models[-1].name}", body)
