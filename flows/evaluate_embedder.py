"""evaluate-embedder: a model on evaluation tasks, beside the encoder it was trained from.

every task:  fetch -> evaluate (before), evaluate (after)     (only what is not in the store)
             the longest first, as many at once as there are devices; mteb fetches its own
then:        results in mteb's layout, scores.json, report.html
"""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from artifacts.store import Store
from evaluation.model import forget_models
from flows.forms import EvaluateForm, ProfileName, fields_of
from flows.needs import needs_of_evaluation
from flows.planning_evaluation import EvaluationPlan, plan_evaluation
from flows.profiles import DEFAULT_STORE
from flows.progress import Steps
from flows.results import write_results
from flows.runner import a_gpu_each, is_used, pool, ray_cluster
from tasks import build as tasks
from tasks import ui
from tasks.build import failure
from tasks.evaluate import evaluate


@flow(  # devices bound what runs at once
    name="evaluate-embedder", flow_run_name="{profile}, {model}", task_runner=pool(16)
)
def evaluate_embedder(
    model: str,
    out: str,
    only: list[str] | None = None,
    profile: ProfileName = "sample",
    baseline: str | None = None,
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: EvaluateForm | None = None,
) -> State[Any]:
    """Evaluate `model` on the tasks `only`, by default the profile's."""
    fields = fields_of(overrides)
    with Store.open(store).in_use() as need:
        plan = plan_evaluation(model, out, only, profile, baseline, mirror, store, fields)
        need(needs_of_evaluation(plan))
        if plan.config.runner == "ray" and not is_used(ray_cluster()):  # as in build-medi
            flow = evaluate_embedder.with_options(task_runner=ray_cluster())
            return flow(
                model, out, only, profile, baseline, mirror, store, overrides, return_state=True
            )
        return _evaluate(plan)


def _evaluate(plan: EvaluationPlan) -> State[Any]:
    fetched = {
        name: tasks.fetch.submit(
            data, location, plan.store, plan.mirror, timeout=plan.config.fetch_timeout
        )
        for name, (data, location) in plan.to_fetch.items()
    }
    failed = {name: error for name, future in fetched.items() if (error := failure(future))}
    stale = [score for score in plan.stale if score.task.name not in failed]
    with a_gpu_each(plan.config.runner):
        scored = [evaluate.submit(score, plan.store, plan.mirror) for score in stale]
    bar = ui.ProgressBar("evaluate-embedder-progress", len(stale))
    with Steps("evaluate-embedder", len(stale)) as progress:
        for score, future in zip(stale, scored, strict=True):
            error = failure(future)
            if error:
                failed[score.task.name] = error
            progress.done(f"{score.result} ({score.label}){' FAILED: ' + error if error else ''}")
            bar.advance()
    forget_models()

    ui.show_scores(write_results(plan, failed), plan.out.absolute() / "report.html")
    return _final_state(plan, {**plan.not_run, **failed}, len(fetched) + len(scored))


def _final_state(plan: EvaluationPlan, failed: dict[str, str], task_runs: int) -> State[Any]:
    data = {"failed": failed, "task_runs": task_runs}
    if failed:
        message = "; ".join(f"{name}: {error}" for name, error in failed.items())
        return Failed(message=message, data=data)
    return Completed(message=f"{len(plan.scores)} scores in {plan.out}", data=data)
