"""What an evaluation leaves in its folder: mteb's results, scores.json, report.html."""

from __future__ import annotations

from typing import Any

from evaluation.report import write_report
from evaluation.run import merge_results
from evaluation.scores import ScoreRow, percent
from flows.planning_models import EvaluationPlan


def write_results(plan: EvaluationPlan) -> list[dict[str, Any]]:
    """Write all scores of `plan` that are in the store; returns a row a task for the UI."""
    found = {(s.task.name, s.label): plan.store.find(s.result) for s in plan.scores}
    artifacts = {at: artifact for at, artifact in found.items() if artifact is not None}
    plan.out.mkdir(parents=True, exist_ok=True)
    merge_results([artifact.folder for artifact in artifacts.values()], plan.out)

    def score(task: str, label: str) -> float | None:
        artifact = artifacts.get((task, label))
        return None if artifact is None else float(artifact.manifest.counts["score"])

    tasks = {s.task.name: s.task for s in plan.scores}
    rows = [
        ScoreRow(task, score(name, "before"), score(name, "after")) for name, task in tasks.items()
    ]
    write_report(
        plan.out,
        rows,
        plan.models.get("before"),
        plan.models["after"],
        plan.config.options,
        f"medi evaluate {plan.models['after'].name} --out OUT --tasks {' '.join(tasks)}",
    )
    return [
        {"task": r.task.name, "before": percent(r.before), "after": percent(r.after)} for r in rows
    ]
