"""What the report says of the run: the headline, what ran, models, training, how to do it again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from artifacts.errors import InputError
from evaluation.baselines import TOTALS
from evaluation.curve import CurvePoint
from evaluation.page import (
    Cell,
    Cells,
    Html,
    Row,
    figures,
    heading,
    number,
    picture,
    table,
    text,
    verbatim,
)
from evaluation.records import EvaluationOptions
from evaluation.scores import NotRun, Reuse, ScoreRow, in_order
from evaluation.statistics import Group, TrainingRecord, groups, read_published, read_training


@dataclass(frozen=True)
class Reported:
    """A model in the report: which side of it, and whether it was given instructions."""

    side: str
    name: str
    key: str
    instructed: bool


def headline(
    rows: Sequence[ScoreRow],
    models: Sequence[Reported],
    paper: Collection[str],
    reuse: Reuse | None,
    options: EvaluationOptions,
) -> list[str]:
    scored = [row for row in rows if row.after is not None]
    of_paper = [row for row in scored if row.task.name in paper and not row.reduced]
    total = sum(TOTALS.values())
    named = [(f"{len(of_paper)} of {total}", "tasks of the paper, at full size")]
    others = len(scored) - len(of_paper)
    named += [(str(others), "other tasks, or reduced")] if others else []
    if len(models) > 1:
        found = [row.comparison for row in scored if row.comparison is not None]
        clear = [one for one in found if not one.within_noise]
        higher = sum(one.difference > 0 for one in clear)
        verdict = f"{higher} / {len(clear) - higher} / {len(found) - len(clear)}"
        named += [(verdict, "tasks higher / lower / within noise")] if found else []
    if reuse is not None and reuse.asked:
        named.append((f"{100 * reuse.share:.0f}%", "of the embeddings reused"))
    sides = " and ".join(f"{model.name} ({model.side})" for model in reversed(models))
    whose = f"of {sides}, " if len(models) > 1 else ""
    lines = [text(f"Scores {whose}times 100.", "quiet"), figures(named)]
    if options.max_texts is not None:
        lines.append(
            text(
                f"At most {options.max_texts} test rows of each task were used: these scores are "
                "for a quick look, not for comparison with others.",
                "warning",
            )
        )
    return lines


def what_ran(
    rows: Sequence[ScoreRow],
    not_run: Sequence[NotRun],
    paper: Collection[str],
    reuse: Reuse | None,
) -> list[str]:
    """Tasks with a score, those without one by reason, those of the paper never asked for."""
    ran = [row.task.name for row in in_order(rows) if row.after is not None]
    reasons: dict[str, list[str]] = {}
    for one in not_run:
        reasons.setdefault(one.reason, []).append(one.task)
    named = {one.task for one in not_run} | set(ran)
    lost = [row.task.name for row in in_order(rows) if row.task.name not in named]
    named |= set(lost)
    rest = [name for name in paper if name not in named]
    if lost:
        reasons["no score"] = lost
    if rest:
        reasons["not asked for"] = rest
    body = [Row(["run", number(str(len(ran))), Cell(", ".join(ran) or "none", "long")])]
    body += [
        Row(
            [
                Cell(f"not run: {reason}", "reason"),
                number(str(len(names))),
                Cell(", ".join(names), "long"),
            ]
        )
        for reason, names in reasons.items()
    ]
    return [
        heading("What was run and what was not"),
        table("What was run", ["", number("tasks"), ""], body),
        *(_reuse(reuse) if reuse is not None else []),
    ]


def _reuse(reuse: Reuse) -> list[str]:
    return [
        text(
            f"The tasks asked for {reuse.asked:,} embeddings, of {reuse.distinct:,} distinct texts "
            f"(under their instruction). {reuse.encoded:,} were computed, so "
            f"{100 * reuse.share:.1f}% were reused: across tasks, or from an earlier run."
        )
    ]


def models_and_instructions(
    models: Sequence[Reported],
    rows: Sequence[ScoreRow],
    instructions: Mapping[str, tuple[str, str]],
) -> list[str]:
    body = [
        Row(
            [
                model.name,
                model.side if len(models) > 1 else "",
                Cell(Html(f"<code>{model.key}</code>")),
                "each task its own" if model.instructed else "none",
            ]
        )
        for model in models
    ]
    lines = [
        heading("Models"),
        table("Models", ["model", "", "key of its files", "instructions"], body),
    ]
    used = [row.task.name for row in in_order(rows) if row.task.name in instructions]
    if not used:
        return lines
    wordings = []
    for name in used:
        query, document = instructions[name]
        same = "the same" if query == document else document.strip() or "none"
        cells: Cells = [name, Cell(query.strip() or "none", "long"), Cell(same, "long")]
        wordings.append(Row(cells))
    heads: Cells = ["task", "instruction of queries, or of all texts", "instruction of documents"]
    return [*lines, heading("Instructions"), table("Instructions", heads, wordings)]


def training(
    model: Path, medi: Path | None, points: list[CurvePoint] | str, svg: bytes
) -> list[str]:
    """How the model was trained and on what, where its folder tells; `points` or what is wrong.

    A broken record spoils no report: it says what is broken.
    """
    parts: list[str] = []
    if isinstance(points, str):
        parts.append(text(f"The model's training curve cannot be shown: {points}", "quiet"))
    elif svg:
        parts += [
            picture("Loss, held-out scores and learning rate by step", svg),
            text(
                "A batch is of one dataset, so its loss leaps from step to step. Held-out scores, "
                "where shown, are means over the training datasets on rows that were not trained "
                "on.",
                "quiet",
            ),
        ]
    parts += _data(model, medi)
    return [heading("Training"), *parts] if parts else []


def _data(model: Path, medi: Path | None) -> list[str]:
    try:
        record = read_training(model)
        published = {} if medi is None else read_published(medi)
    except InputError as error:
        return [text(f"What it was trained on cannot be shown: {error}", "quiet")]
    if record is None or not record.datasets:
        return []
    found = groups(record, published)
    tokens = any(group.query_tokens is not None for group in found)
    heads: Cells = ["datasets", *map(number, ("number", "rows", "held out"))]
    heads += [number("mean tokens, query"), number("mean tokens, positive")] if tokens else []
    body = [
        Row(_group_cells(group, tokens), "mean" if group is found[-1] else "") for group in found
    ]
    return [text(_settings(record)), table("Training data", heads, body)]


def _group_cells(group: Group, tokens: bool) -> Cells:
    cells: Cells = [group.name]
    cells += [number(f"{value:,}") for value in (group.datasets, group.rows, group.held_out)]
    if tokens:
        means = (group.query_tokens, group.pos_tokens)
        cells += [number("–" if mean is None else f"{mean:.1f}") for mean in means]
    return cells


def _settings(record: TrainingRecord) -> str:
    shown = {
        "batch_rows": "rows a batch",
        "loss": "loss",
        "temperature": "temperature",
        "learning_rate": "learning rate",
        "seed": "seed",
    }
    said = [f"{name} {record.options[key]}" for key, name in shown.items() if key in record.options]
    start = f"Trained from {record.base_encoder}, " if record.base_encoder else "Trained, "
    return f"{start}the weights of step {record.step}" + "".join(f"; {one}" for one in said) + "."


def again(command: str) -> list[str]:
    return [
        heading("To get these scores again"),
        verbatim(command),
        text(
            Html(
                "Each task's full result is in <code>results/</code>, in mteb's layout: "
                "<code>mteb.ResultCache(folder).load_results()</code> opens it. Every picture is "
                "in <code>pictures/</code> as PNG, all scores in <code>scores.json</code>."
            )
        ),
    ]
