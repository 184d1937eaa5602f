"""Commands that run a flow: what is checked before a server is started, what is said afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from artifacts.publish import deliver_build, deliver_folder, require_deliverable
from artifacts.store import Store
from evaluation.model import device_names
from flows.ablations import get_ablation
from flows.needs import needs_of_build, needs_of_evaluation, needs_of_training
from flows.planning import plan_build, require_sources
from flows.planning_evaluation import plan_evaluation
from flows.planning_training import plan_train
from flows.profiles import get_profile, override, sections
from flows.server import prefect_server, wait_until_recorded


def run_build(
    profile: str,
    only: Sequence[str] | None,
    publish: str | None,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
) -> int:
    """Exit status. With nothing to build no server is started."""
    config = override(get_profile(profile).build, fields)
    plan = plan_build(config, Store.open(store), mirror, only)
    require_sources(plan)
    if publish:
        require_deliverable(Path(publish))
    report = plan.report()
    status = 0
    if report["run"]:

        def build() -> Any:
            from flows.build_medi import build_medi
            from flows.forms import BuildForm, fill
            from flows.runner import of_build

            return build_medi.with_options(task_runner=of_build(config))(
                profile=profile,
                only=list(only) if only else None,
                publish=publish,
                mirror=mirror,
                store=store,
                overrides=fill(BuildForm, config, fields),
                return_state=True,
            )

        status = _on_server(build)
    elif publish:
        with plan.setting.store.in_use() as need:
            need(needs_of_build(plan))
            made = plan.setting.store.get(plan.publish)
            deliver_build(made, plan.publication().entries, Path(publish))
    print(f"{len(report['run'])} stages to run, {report['cached']} cached, store {store}")
    if publish:
        print(f"MEDI folder: {publish}")
    return status


def run_train(
    medi: str,
    out: str,
    profile: str,
    encoder: str | None,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
) -> int:
    """Exit status. A model that is in the store already is copied to `out`."""
    training = plan_train(medi, out, profile, encoder, mirror, store, fields)
    status = 0
    if training.problem:

        def train() -> Any:
            from flows.forms import TrainForm, fill
            from flows.train_instructor import train_instructor

            return train_instructor(
                medi=medi,
                out=out,
                profile=profile,
                encoder=encoder,
                mirror=mirror,
                store=store,
                overrides=fill(TrainForm, get_profile(profile).train, fields),
                return_state=True,
            )

        status = _on_server(train)
    else:
        with training.store.in_use() as need:
            need(needs_of_training(training))
            deliver_folder(training.store.get(training.model), "model", Path(out).absolute())
    if status == 0:
        print(f"model: {out}")
    return status


def run_evaluate(
    model: str,
    out: str,
    only: Sequence[str] | None,
    profile: str,
    baseline: str | None,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
) -> int:
    """Exit status. Scores that are in the store already are only written out."""
    from flows.results import other_versions, unprompted, write_results  # matplotlib

    plan = plan_evaluation(model, out, only, profile, baseline, mirror, store, fields)
    for line in (*other_versions(plan), *unprompted(plan)):
        print(f"medi: {line}", file=sys.stderr)
    if plan.stale:

        def evaluate() -> Any:
            from flows.evaluate_embedder import evaluate_embedder
            from flows.forms import EvaluateForm, fill
            from flows.runner import pool, ray_cluster

            workers = max(2, len(device_names(plan.config.options.device)))
            runner = ray_cluster() if plan.config.runner == "ray" else pool(workers)
            return evaluate_embedder.with_options(task_runner=runner)(
                model=model,
                out=out,
                only=list(only) if only else None,
                profile=profile,
                baseline=baseline,
                mirror=mirror,
                store=store,
                overrides=fill(EvaluateForm, plan.config, fields),
                return_state=True,
            )

        status = _on_server(evaluate)
    else:
        with plan.store.in_use() as need:
            need(needs_of_evaluation(plan))
            write_results(plan, {})
        status = _tell_failed(plan.not_run)
    print(f"results: {out}\nreport: {Path(out) / 'report.html'}")
    return status


def run_demo(out: Path, store: str) -> int:
    """build -> train -> evaluate on the sample, on one server; says where each result is."""
    medi, model, results = str(out / "medi"), str(out / "model"), str(out / "results")
    with prefect_server():
        return (
            run_build("sample", None, medi, None, store, {})
            or run_train(medi, model, "sample", None, None, store, {})
            or run_evaluate(model, results, None, "sample", None, None, store, {})
        )


def run_ablate(
    name: str,
    out: str,
    profile: str,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
) -> int:
    """Exit status. One server for all flows of the grid."""
    get_ablation(name, profile)
    sections(get_profile(profile), fields)

    def run() -> Any:
        from flows.ablate import ablate

        return ablate(name, out, profile, mirror, store, dict(fields), return_state=True)

    status = _on_server(run)
    print(f"report: {Path(out) / 'report.html'}")
    return status


def run_retrain(
    profile: str, out: str, mirror: str | None, store: str, fields: Mapping[str, Any]
) -> int:
    """Exit status. One server for all flows."""
    sections(get_profile(profile), fields)

    def run() -> Any:
        from flows.forms import RetrainForm, fill
        from flows.retrain import retrain

        form = fill(RetrainForm, get_profile(profile), fields)
        state = retrain(profile, out, mirror, store, form, return_state=True)
        if state.is_completed():
            print(f"retrain: {state.message}")
        return state

    return _on_server(run)


def _on_server(run: Callable[[], Any]) -> int:
    """Run a flow with a Prefect server; waits until each of its task runs is on record."""
    with prefect_server() as url:
        state = run()
        _send_logs()
        data = state.result(raise_on_failure=False)
        if isinstance(data, BaseException):
            raise data
        recorded = wait_until_recorded(url, state.state_details.flow_run_id, data["task_runs"])
    if recorded < data["task_runs"]:
        print(f"medi: {data['task_runs'] - recorded} task runs are not on record", file=sys.stderr)
    return _tell_failed(data.get("failed", {}))


def _tell_failed(failed: Mapping[str, str]) -> int:
    for name, error in sorted(failed.items()):
        print(f"medi: {name} failed: {error}", file=sys.stderr)
    return 1 if failed else 0


def _send_logs() -> None:
    """Prefect sends logs behind the run; a server stopped before they arrive would lose them."""
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=30)
