"""build-medi: from 330 sources to the MEDI dataset folder.

    every dataset:  fetch -> pairs -> mine -> shards      (only the stale stages)
    then:           publish -> the dataset folder

Each stage is a task and a cached artifact; a dataset that fails does not stop the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed, Failed

from artifacts.publish import deliver_build, require_deliverable
from artifacts.store import Store
from flows.planning import BuildPlan, plan_build, require_sources
from flows.profiles import DEFAULT_STORE, get_profile, override
from flows.progress import Steps
from flows.runner import pool
from tasks import build as tasks
from tasks import ui
from tasks.build import failure
from tasks.steps import STAGES, Step


@flow(name="build-medi", task_runner=pool(4))
def build_medi(
    profile: str = "sample",
    only: list[str] | None = None,
    publish: str | None = None,
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: dict[str, Any] | None = None,
) -> State[Any]:
    """Build the datasets of `profile` and, with `publish`, the dataset folder.

    Ends Completed; "CompletedWithFailures" where some datasets failed and the others are
    finished; Failed where none is left to publish.
    """
    config = override(get_profile(profile).build, overrides or {})
    plan = plan_build(config, Store.open(store), mirror, only)
    require_sources(plan)
    if publish:
        require_deliverable(Path(publish))

    outcome = build_datasets(plan)

    finished = plan.without(outcome.failed)
    if finished.chains:
        entries = finished.entries()
        tasks.publish(finished.publish, entries, finished.facts(), plan.setting)
        if publish:
            deliver_build(plan.setting.store.get(finished.publish), entries, Path(publish))
    ui.show_build(summary(plan, outcome.failed), _describe(plan, outcome))
    return _final_state(plan, outcome)


@dataclass
class Outcome:
    """How the steps of a build ended."""

    task_runs: int = 0
    failed: dict[str, str] = field(default_factory=dict)  # dataset -> stage and error


def build_datasets(plan: BuildPlan) -> Outcome:
    """Run every stale step, a dataset's stages in order, datasets side by side."""
    outcome = Outcome()
    waiting = {name: [s for s in c.values() if s.problem] for name, c in plan.chains.items()}
    ended: SimpleQueue[tuple[Step, PrefectFuture[Any]]] = SimpleQueue()

    def start_next(dataset: str) -> int:
        if not waiting[dataset]:
            return 0
        step = waiting[dataset].pop(0)
        future = _submit(step, plan)
        future.add_done_callback(lambda done: ended.put((step, done)))
        outcome.task_runs += 1
        return 1

    bar = ui.ProgressBar("build-medi-progress", len(plan.stale))
    with Steps("build-medi", len(plan.stale)) as progress:
        running = sum(start_next(dataset) for dataset in plan.chains)
        while running:
            step, future = ended.get()
            error = failure(future)
            if error:
                outcome.failed[step.dataset] = f"{step.stage}: {error}"
            progress.done(f"{step.spec}{' FAILED: ' + error if error else ''}")
            bar.advance()
            running += -1 if error else start_next(step.dataset) - 1
    return outcome


def summary(plan: BuildPlan, failed: dict[str, str]) -> list[dict[str, Any]]:
    """One row a dataset, cached ones included."""
    rows = []
    for name, chain in plan.chains.items():
        ran = [stage for stage in STAGES if chain[stage].problem]
        shards = plan.setting.store.find(chain["shards"].spec)
        rows.append(
            {
                "dataset": name,
                "state": "failed" if name in failed else "built" if ran else "cached",
                "ran": ", ".join(ran),
                "rows": shards.manifest.counts["rows"] if shards else 0,
                "problem": failed.get(name, ""),
            }
        )
    return rows


def _submit(step: Step, plan: BuildPlan) -> PrefectFuture[Any]:
    setting = plan.setting
    match step.stage:
        case "fetch":
            return tasks.fetch.submit(
                step.spec, step.source.location, setting.store, setting.mirror
            )
        case "pairs":
            return tasks.pairs.submit(step, setting)
        case "mine":
            return tasks.mine.submit(step, setting)
        case _:
            chain = {stage: s.spec for stage, s in plan.chains[step.dataset].items()}
            return tasks.shards.submit(step, setting, chain)


def _describe(plan: BuildPlan, outcome: Outcome) -> str:
    failed = len(outcome.failed)
    return f"{len(plan.chains)} datasets, {outcome.task_runs} stages run, {failed} failed"


def _final_state(plan: BuildPlan, outcome: Outcome) -> State[Any]:
    published = len(outcome.failed) < len(plan.chains)
    data = {"failed": outcome.failed, "task_runs": outcome.task_runs + published}
    if not outcome.failed:
        return Completed(message=_describe(plan, outcome), data=data)
    message = "; ".join(f"{name}: {error}" for name, error in sorted(outcome.failed.items()))
    if not published:
        return Failed(message=message, data=data)
    return Completed(name="CompletedWithFailures", message=message, data=data)
