"""build-medi: from 330 sources to the MEDI dataset folder.

    every dataset:  fetch -> pairs -> mine -> shards      (only the stale stages)
    then:           fetch -> texts (every evaluation task) -> decontaminate
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
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.utilities.annotations import quote

from artifacts.errors import InputError
from artifacts.publish import deliver_build, require_deliverable
from artifacts.store import Store
from flows.forms import BuildForm, ProfileName, fields_of
from flows.needs import needs_of_build
from flows.planning import BuildPlan, datasets_of, plan_build, require_sources
from flows.profiles import DEFAULT_STORE, get_profile, override
from flows.progress import Steps
from flows.runner import is_used, of_build, pool
from tasks import build as tasks
from tasks import leaks, ui
from tasks.build import failure
from tasks.config import window
from tasks.dataset_page import dropped_share
from tasks.markdown import plain
from tasks.steps import STAGES, Step


def _run_name() -> str:
    """`sample, 330 datasets`; with few of them their names."""
    given = flow_run.parameters
    profile, only = given["profile"], given["only"]
    try:
        config = override(get_profile(profile).build, fields_of(given["overrides"]))
        names = [source.name for source in datasets_of(config, only)]
    except InputError:  # the run itself says what is wrong
        return str(profile)
    few = only and len(names) <= 2
    return f"{profile}, {', '.join(names) if few else f'{len(names)} datasets'}"


@flow(name="build-medi", flow_run_name=_run_name, task_runner=pool(4))
def build_medi(
    profile: ProfileName = "sample",
    only: list[str] | None = None,
    publish: str | None = None,
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: BuildForm | None = None,
) -> State[Any]:
    """Build the datasets of `profile` and, with `publish`, the dataset folder.

    Ends Completed; "CompletedWithFailures" where some datasets failed and the others are
    finished; Failed where none is left to publish.
    """
    config = override(get_profile(profile).build, fields_of(overrides))
    kept = Store.open(store)
    with kept.in_use() as need:
        plan = plan_build(config, kept, mirror, only)
        need(needs_of_build(plan))
        require_sources(plan)
        if publish:
            require_deliverable(Path(publish))
        runner = of_build(config)
        if not is_used(runner):  # a flow run has one task runner: another is a subflow's
            flow = build_medi.with_options(task_runner=runner)
            return flow(profile, only, publish, mirror, store, overrides, return_state=True)
        return _build(plan, publish)


def _build(plan: BuildPlan, publish: str | None) -> State[Any]:
    outcome = build_datasets(plan)

    with plan.setting.store.in_use() as need:
        finished = plan.without(outcome.failed)  # it publishes under another key
        need(needs_of_build(finished))
        publishable = bool(finished.chains) and decontaminate(finished, outcome)
        ui.show_build(summary(plan, outcome), _describe(plan, outcome))
        if publishable:
            _publish(finished, outcome, publish)
    return _final_state(plan, outcome)


def _publish(finished: BuildPlan, outcome: Outcome, folder: str | None) -> None:
    publication = finished.publication()
    found = finished.leaks.spec if finished.leaks else None
    tasks.publish(finished.publish, publication, found, finished.setting)
    outcome.published = True
    if folder:
        made = finished.setting.store.get(finished.publish)
        deliver_build(made, publication.entries, Path(folder))


@dataclass
class Outcome:
    """How the steps of a build ended."""

    task_runs: int = 0
    seconds: dict[str, float] = field(default_factory=dict)  # of each dataset's stages
    failed: dict[str, str] = field(default_factory=dict)  # dataset -> stage and error
    published: bool = False


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
                ui.show_failed(step.source, outcome.failed[step.dataset])
            else:
                took = outcome.seconds.get(step.dataset, 0.0) + future.result()["seconds"]
                outcome.seconds[step.dataset] = round(took, 1)
            progress.done(f"{step.spec}{' FAILED: ' + error if error else ''}")
            bar.advance()
            running += -1 if error else start_next(step.dataset) - 1
    return outcome


def decontaminate(plan: BuildPlan, outcome: Outcome) -> bool:
    """Look for evaluation texts in all datasets; False where it could not be done.

    Nothing is published then: its card would say of the rows what nobody has checked.
    """
    step, store = plan.leaks, plan.setting.store
    if step is None:
        return True
    mirror, config = plan.setting.mirror, plan.setting.config

    def done(jobs: dict[str, PrefectFuture[Any]]) -> bool:
        failed = {name: error for name, job in jobs.items() if (error := failure(job))}
        outcome.task_runs += len(jobs)
        outcome.failed |= failed
        return not failed

    return (
        done(
            {
                data.spec.dataset: tasks.fetch.submit(
                    data.spec, data.location, store, mirror, timeout=config.fetch_timeout
                )
                for data in step.data
                if data.problem
            }
        )
        and done(
            {
                f"texts of {each.spec.dataset}": leaks.texts.submit(each, store)
                for each in step.texts
                if each.problem
            }
        )
        and done(
            {"decontaminate": leaks.decontaminate.submit(step, config.decontamination, store)}
            if step.problem
            else {}
        )
    )


def summary(plan: BuildPlan, outcome: Outcome) -> list[dict[str, Any]]:
    """One row a dataset, cached ones included: the failed first, then those that dropped most."""
    rows, shares = {}, {}
    for name, chain in plan.chains.items():
        made = {stage: plan.setting.store.find(chain[stage].spec) for stage in STAGES[1:]}
        counts = {stage: one.manifest.counts for stage, one in made.items() if one}
        shares[name] = dropped_share(counts)
        ran = any(step.problem for step in chain.values())
        rows[name] = {
            "dataset": name,
            "state": "failed" if name in outcome.failed else "built" if ran else "cached",
            "rows": counts["shards"]["rows"] if "shards" in counts else 0,
            "dropped": f"{100 * shares[name]:.1f} %" if "pairs" in counts else "",
            "problem": plain(outcome.failed.get(name, "").replace(f"{name}: ", "", 1), 120),
            "licence": chain["fetch"].source.licence.spdx,
            "seconds": outcome.seconds.get(name),
        }
    ordered = sorted(rows, key=lambda name: (name not in outcome.failed, -shares[name]))
    return [rows[name] for name in ordered]


def _submit(step: Step, plan: BuildPlan) -> PrefectFuture[Any]:
    setting = plan.setting
    # Else Prefect walks through all of it for each task; prefect-ray does not know what is quoted.
    quoted: Any = setting if setting.config.runner == "ray" else quote(setting)
    match step.stage:
        case "fetch":
            source, store, mirror = step.source, setting.store, setting.mirror
            cut, timeout = window(source, setting.config), setting.config.fetch_timeout
            return tasks.fetch.submit(
                step.spec, source.location, store, mirror, cut, ui.tags_of(source), timeout
            )
        case "pairs":
            return tasks.pairs.submit(step, quoted)
        case "mine":
            return tasks.mine.submit(step, quoted)
        case _:
            chain = {stage: s.spec for stage, s in plan.chains[step.dataset].items()}
            return tasks.shards.submit(step, quoted, chain)


def _describe(plan: BuildPlan, outcome: Outcome) -> str:
    failed = len(outcome.failed)
    return f"{len(plan.chains)} datasets, {outcome.task_runs} stages run, {failed} failed"


def _final_state(plan: BuildPlan, outcome: Outcome) -> State[Any]:
    data = {"failed": outcome.failed, "task_runs": outcome.task_runs + outcome.published}
    if not outcome.failed:
        return Completed(message=_describe(plan, outcome), data=data)
    message = "; ".join(f"{name}: {error}" for name, error in sorted(outcome.failed.items()))
    if not outcome.published:
        return Failed(message=message, data=data)
    return Completed(name="CompletedWithFailures", message=message, data=data)
