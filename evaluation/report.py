"""The report: report.html (one file, nothing to load) and scores.json beside mteb's results."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from artifacts.errors import InputError
from artifacts.models import ModelRef
from evaluation.curve import read_curve
from evaluation.model import result_name, takes_instructions
from evaluation.plot import plot_curve, plot_scores
from evaluation.records import EvaluationOptions
from evaluation.scores import (
    Average,
    ScoreRow,
    averages,
    difference,
    in_order,
    percent,
    scores_json,
)

_SVG = "data:image/svg+xml;base64,"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff;
       max-width: 60rem; margin: 2.5rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
p { margin: .5rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .75rem .35rem 0; border-bottom: 1px solid #e3e6eb;
         vertical-align: top; }
th { font-weight: 600; border-bottom-color: #9aa3b2; }
td.n, th.n { text-align: right; padding-right: 0; padding-left: .75rem; white-space: nowrap; }
tr.mean td { font-weight: 600; border-bottom: 0; }
td.better { color: #1f6fb2; } td.worse { color: #b5472f; }
img { width: 100%; height: auto; }
code, pre { font: .875rem/1.45 ui-monospace, monospace; }
pre { background: #f4f6f9; padding: .75rem 1rem; overflow-x: auto; }
.quiet { color: #5b6575; }
"""


@dataclass(frozen=True)
class Reported:
    """A model in the report: which side of it, and what it was given."""

    side: str
    name: str
    key: str
    instructed: bool


def write_report(
    out: Path,
    rows: Sequence[ScoreRow],
    before: ModelRef | None,
    after: ModelRef,
    options: EvaluationOptions,
    command: str,
) -> Path:
    """Write `out`/report.html and `out`/scores.json; returns the path of the former.

    `command` is what a reader types to get the same scores. Equal arguments give equal bytes.
    """
    models = [
        Reported(side, result_name(model), model.key, takes_instructions(model, options))
        for side, model in (("before", before), ("after", after))
        if model is not None
    ]
    keys = {m.side: {"name": m.name, "key": m.key} for m in models}
    (out / "scores.json").write_text(scores_json(rows, keys), encoding="utf-8")
    page = out / "report.html"
    training = _training(after.folder)
    page.write_text(_page(in_order(rows), models, options, command, training), encoding="utf-8")
    return page


def _page(
    rows: Sequence[ScoreRow],
    models: Sequence[Reported],
    options: EvaluationOptions,
    command: str,
    training: str,
) -> str:
    categories, average = averages(rows)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Evaluation of {escape(models[-1].name)}</title>",
            f"<style>{_STYLE}</style>\n</head>\n<body>",
            f"<h1>Evaluation of {escape(models[-1].name)}</h1>",
            f'<p class="quiet">{_summary(rows, average, options)}</p>',
            _image("Scores by task, before and after", plot_scores(rows)),
            "<h2>Scores</h2>",
            _task_table(rows),
            "<h2>By category</h2>",
            _category_table(categories, average),
            _notes(rows),
            "<h2>Models</h2>",
            _model_table(models),
            training,
            "<h2>To get these scores again</h2>",
            f"<pre>{escape(command)}</pre>",
            "<p>Each task's full result is in <code>results/</code>, in mteb's layout: "
            "<code>mteb.ResultCache(folder).load_results()</code> opens it.</p>",
            "</body>\n</html>\n",
        ]
    )


def _training(model: Path) -> str:
    """How the model was trained, where its folder tells. A broken curve spoils no report."""
    try:
        points = read_curve(model)
    except InputError as error:
        text = f"The model's training curve cannot be shown: {error}"
        return f'<h2>Training</h2>\n<p class="quiet">{escape(text)}</p>'
    if len(points) < 2:
        return ""
    return "\n".join(
        [
            "<h2>Training</h2>",
            _image("Loss, held-out scores and learning rate by step", plot_curve(points)),
            '<p class="quiet">A batch is of one dataset, so its loss leaps from step to step. '
            "Held-out scores, where shown, are means over the training datasets on rows that were "
            "not trained on.</p>",
        ]
    )


def _image(alt: str, svg: bytes) -> str:
    return f'<img alt="{alt}" src="{_SVG}{base64.b64encode(svg).decode()}">'


def _summary(rows: Sequence[ScoreRow], average: Average, options: EvaluationOptions) -> str:
    text = f"{len(rows)} tasks in {average.count} of the paper's nine categories; scores times 100."
    if options.max_texts is not None:
        text += (
            f" At most {options.max_texts} test rows of each task were used: these scores are for "
            "a quick look, not for comparison with others."
        )
    return text


def _task_table(rows: Sequence[ScoreRow]) -> str:
    body = [[escape(row.task.name), escape(row.task.category), escape(row.metric)] for row in rows]
    return _table(["task", "category", "metric"], body, rows)


def _category_table(categories: Sequence[Average], average: Average) -> str:
    body = [[escape(part.name), str(part.count)] for part in categories]
    body.append([escape(f"{average.name} ({average.count})"), ""])
    return _table(["category", "tasks"], body, [*categories, average], mean=True) + (
        '<p class="quiet">The last line is the unweighted mean of the categories above it, as the '
        "paper takes it. It compares with the paper's Avg only where all 70 tasks are there.</p>"
    )


def _table(
    heads: Sequence[str],
    body: Sequence[Sequence[str]],
    parts: Sequence[ScoreRow | Average],
    mean: bool = False,
) -> str:
    """Cells of `body`, then before, after and difference of the part of the same position."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    head += "".join(f'<th class="n">{text}</th>' for text in ("before", "after", "difference"))
    lines = [f"<table>\n<tr>{head}</tr>"]
    for position, (cells, part) in enumerate(zip(body, parts, strict=True)):
        last = mean and position == len(parts) - 1
        row = "".join(f"<td>{cell}</td>" for cell in cells)
        row += f'<td class="n">{percent(part.before)}</td><td class="n">{percent(part.after)}</td>'
        row += f'<td class="n {_verdict(part)}">{difference(part.before, part.after)}</td>'
        lines.append(f'<tr class="mean">{row}</tr>' if last else f"<tr>{row}</tr>")
    return "\n".join([*lines, "</table>"])


def _verdict(part: ScoreRow | Average) -> str:
    if part.before is None or part.after is None or part.before == part.after:
        return ""
    return "better" if part.after > part.before else "worse"


def _notes(rows: Sequence[ScoreRow]) -> str:
    noted = [row.task for row in rows if row.task.note]
    if not noted:
        return ""
    items = "\n".join(
        f"<p><b>{escape(task.name)}</b>: {escape(task.note.strip())}</p>" for task in noted
    )
    return f"<h2>What to know of these tasks</h2>\n{items}"


def _model_table(models: Sequence[Reported]) -> str:
    rows = "\n".join(
        f"<tr><td>{m.side}</td><td>{escape(m.name)}</td><td><code>{escape(m.key)}</code></td>"
        f"<td>{'each task its own' if m.instructed else 'none'}</td></tr>"
        for m in models
    )
    head = "<tr><th></th><th>model</th><th>key of its files</th><th>instructions</th></tr>"
    return f"<table>\n{head}\n{rows}\n</table>"
