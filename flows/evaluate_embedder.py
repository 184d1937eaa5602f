"""evaluate-embedder: a model on evaluation tasks, beside the encoder it was trained from.

every task:  fetch -> evaluate (before), evaluate (after)     (only what is not in the store)
then:        results in mteb's layout, scores.json, report.html
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.planning_models import EvaluationPlan, plan_evaluation
from flows.profiles import DEFAULT_STORE
from flows.progress import Steps
from flows.results import write_results
from flows.runner import pool
from tasks import build as tasks
from tasks import ui
from tasks.build import failure
from tasks.evaluate import evaluate


@flow(name="evaluate-embedder", task_runner=pool(2))
def evaluate_embedder(
    model: str,
    out: str,
    only: list[str] | None = None,
    profile: str = "sample",
    baseline: str | None = None,
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: dict[str, Any] | None = None,
) -> State[Any]:
    """Evaluate `model` on the tasks `only`, by default the profile's."""
    plan = plan_evaluation(model, out, only, profile, baseline, mirror, store, overrides or {})

    fetched = {
        name: tasks.fetch.submit(score.data, score.task.location, plan.store, plan.mirror)
        for name, score in plan.to_fetch.items()
    }
    failed = {name: error for name, future in fetched.items() if (error := failure(future))}
    stale = [score for score in plan.stale if score.task.name not in failed]
    scored = [evaluate.submit(score, plan.config.options, plan.store) for score in stale]
    bar = ui.ProgressBar("evaluate-embedder-progress", len(stale))
    with Steps("evaluate-embedder", len(stale)) as progress:
        for score, future in zip(stale, scored, strict=True):
            error = failure(future)
            if error:
                failed[score.task.name] = error
            progress.done(f"{score.result} ({score.label}){' FAILED: ' + error if error else ''}")
            bar.advance()

    ui.show_scores(write_results(plan))
    return _final_state(plan, failed, len(fetched) + len(scored))


def _final_state(plan: EvaluationPlan, failed: dict[str, str], task_runs: int) -> State[Any]:
    data = {"failed": failed, "task_runs": task_runs}
    if failed:
        message = "; ".join(f"{name}: {error}" for name, error in failed.items())
        return Failed(message=message, data=data)
    return Completed(message=f"{len(plan.scores)} scores in {plan.out}", data=data)
