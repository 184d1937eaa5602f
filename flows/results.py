"""What an evaluation leaves in its folder: mteb's results, scores.json, report.html and more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from artifacts.publication import FOLDER
from artifacts.store import Artifact
from evaluation.intervals import ScoreInterval, compare, read_interval
from evaluation.model import declares_prompts, takes_instructions
from evaluation.paper import PAPERS_LM
from evaluation.prompts import PromptOptions
from evaluation.records import EvalTask
from evaluation.report import Report, write_report
from evaluation.results import merge_results, of_other_versions
from evaluation.run import INTERVALS, PROMPTS
from evaluation.scores import NotRun, Reuse, Robustness, ScoreRow, averages, percent
from flows.planning_evaluation import EvaluationPlan

SCORES = "scores.json"
ROBUSTNESS = "robustness.json"
_SIDES = ("before", "after")

# (task, label) -> its result.
_Found = Mapping[tuple[str, str], Artifact]


def write_results(plan: EvaluationPlan, failed: Mapping[str, str]) -> list[dict[str, Any]]:
    """Write all scores of `plan` that are in the store; returns a row a task for the UI.

    `failed`: task -> why it has no result now.
    """
    places = {(s.task.name, s.label): plan.store.find(s.result) for s in plan.scores}
    found = {at: artifact for at, artifact in places.items() if artifact is not None}
    plan.out.resolve().mkdir(parents=True, exist_ok=True)  # a link may lead to what is not there
    merge_results([one.folder for (_, label), one in found.items() if label in _SIDES], plan.out)
    _write_prompts(plan, found)
    robustness = _robustness(plan, found)
    _write_robustness(plan, robustness)
    rows = [row for row in _rows(plan, found) if row.before is not None or row.after is not None]
    scored = {row.task.name for row in rows}
    reasons = {**plan.not_run, **failed}
    report = Report(
        rows=rows,
        before=plan.models.get("before"),
        after=plan.models["after"],
        options=plan.config.options,
        command=_command(plan),
        not_run=[
            NotRun(task.name, reasons.get(task.name, "its result is not in the store"))
            for task in plan.tasks
            if task.name not in scored
        ],
        robustness=robustness,
        reuse=_reuse(found),
        instructions={
            s.task.name: s.asked.instructions
            for s in plan.scores
            if s.label == "after" and s.asked.instructions
        },
        medi=_trained_on(plan),
    )
    write_report(plan.out, report)
    return [
        {"task": r.task.name, "before": percent(r.before), "after": percent(r.after)} for r in rows
    ] + [{"task": one.task, "before": "not run", "after": one.reason} for one in report.not_run]


def _trained_on(plan: EvaluationPlan) -> Path | None:
    """The published data that the model was trained on, where this store has made them."""
    record = plan.models["after"].folder / "medi.json"
    key = json.loads(record.read_bytes()).get("medi") if record.is_file() else None
    published = plan.store.find_key("publish", "medi", str(key)) if key else None
    return published.folder / FOLDER if published else None


def other_versions(plan: EvaluationPlan) -> Iterator[str]:
    """A line for each result in the folder that another version of mteb left there."""
    for side, model in plan.models.items():
        for task, version in of_other_versions(plan.out, model).items():
            yield f"{task} ({side}) in {plan.out} is of mteb {version}: not in this report"


def unprompted(plan: EvaluationPlan) -> Iterator[str]:
    """A line for each model that is given nothing in front of a text."""
    for side, model in plan.models.items():
        if not takes_instructions(model, plan.config.options) and not declares_prompts(model):
            yield (
                f"{model.name} ({side}) declares no prompts and takes no instructions: texts are "
                "embedded as they are (--instructions always gives it the tasks')"
            )


def _rows(plan: EvaluationPlan, found: _Found) -> Iterator[ScoreRow]:
    for task in plan.tasks:
        before, after = (found.get((task.name, side)) for side in _SIDES)
        first, second = _interval(before), _interval(after)
        yield ScoreRow(
            _with_absent(task, after or before),
            _score(before),
            _score(after),
            before_interval=_bounds(first),
            after_interval=_bounds(second),
            comparison=compare(first, second) if first and second else None,
            reduced=_unlike_the_paper(task, plan.config.options.prompts),
        )


def _with_absent(task: EvalTask, result: Artifact | None) -> EvalTask:
    absent = result.manifest.counts.get("absent_documents", 0) if result else 0
    if not absent:
        return task
    note = f"{absent} relevant documents are not in the corpus: they count as not found."
    return task.model_copy(update={"note": f"{task.note} {note}".strip()})


def _unlike_the_paper(task: EvalTask, options: PromptOptions) -> str:
    if not task.prompt:
        return ""
    if options.lm is None:
        return "no language model answered"
    if options.lm != PAPERS_LM:
        return f"answered by {options.lm}, not {PAPERS_LM}"
    rows = (PromptOptions().train_rows, PromptOptions().test_rows)
    return "" if (options.train_rows, options.test_rows) == rows else "fewer or more rows"


def _score(result: Artifact | None) -> float | None:
    return None if result is None else float(result.manifest.counts["score"])


def _interval(result: Artifact | None) -> ScoreInterval | None:
    return None if result is None else read_interval(result.folder / INTERVALS)


def _bounds(found: ScoreInterval | None) -> tuple[float, float] | None:
    return None if found is None else (found.low, found.high)


def _robustness(plan: EvaluationPlan, found: _Found) -> list[Robustness]:
    """Of tasks that have a score with every paraphrase."""
    labels = [f"after, paraphrase {number + 1}" for number in range(plan.config.paraphrases)]
    rows = []
    for task in plan.tasks:
        made = [found[task.name, label] for label in labels if (task.name, label) in found]
        if labels and len(made) == len(labels):
            scores = tuple(score for one in made if (score := _score(one)) is not None)
            rows.append(Robustness(task.name, task.category, scores))
    return rows


def _write_robustness(plan: EvaluationPlan, rows: Sequence[Robustness]) -> None:
    """robustness.json: scores by paraphrase of each task, and their mean over categories."""
    path = plan.out / ROBUSTNESS
    path.unlink(missing_ok=True)
    if not rows:
        return
    tasks = {task.name: task for task in plan.tasks}
    means = []
    for number in range(plan.config.paraphrases):
        of_it = [ScoreRow(tasks[row.task], None, row.scores[number]) for row in rows]
        means.append(averages(of_it)[1].after)
    record = {"tasks": {row.task: row.scores for row in rows}, "average": means}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def _write_prompts(plan: EvaluationPlan, found: _Found) -> None:
    """prompts/<task>.<side>.jsonl: what the language model was asked, and said."""
    for (task, label), artifact in found.items():
        if label in _SIDES and PROMPTS in artifact.manifest.files:
            target = plan.out / "prompts" / f"{task}.{label}.jsonl"
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(artifact.file(PROMPTS), target)


def _reuse(found: _Found) -> Reuse | None:
    counted = [artifact.manifest.counts["embeddings"] for artifact in found.values()]
    if not counted:
        return None
    return Reuse(*(sum(one[name] for one in counted) for name in ("asked", "distinct", "encoded")))


def _command(plan: EvaluationPlan) -> str:
    names = " ".join(task.name for task in plan.tasks)
    return f"medi evaluate {plan.models['after'].name} --out OUT --tasks {names}"
