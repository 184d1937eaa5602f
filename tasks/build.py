"""The stages of build-medi as Prefect tasks, one task run a stage and dataset.

The store is the only cache (NO_CACHE): a task that finds its artifact made meanwhile ends in a
completed state named "Cached". Fetching alone is retried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.states import Completed
from prefect.tasks import exponential_backoff

from artifacts.errors import DatasetError
from artifacts.keys import Spec
from artifacts.location import Location
from artifacts.publication import Publication
from artifacts.store import Artifact, Store
from medi_sources.fetch import FetchError, within
from medi_sources.window import Window
from tasks import stages, ui
from tasks.steps import Setting, Step


def _network_trouble(task: Any, run: Any, state: State[Any]) -> bool:
    """Retry what another attempt can mend; a broken file or record stays broken."""
    return isinstance(state.result(raise_on_failure=False), FetchError)


@task(
    name="fetch",
    task_run_name="fetch: {spec.dataset}",
    tags=["fetch"],
    cache_policy=NO_CACHE,
    retries=4,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_network_trouble,
)
def fetch(
    spec: Spec,
    location: Location,
    store: Store,
    mirror: Path | None,
    window: Window | None = None,
    tags: Sequence[str] = (),
    timeout: float | None = None,
) -> State[Any] | dict[str, Any]:
    with within(timeout):
        return _timed(tags, stages.fetch, spec, location, store, mirror, window)


@task(name="pairs", task_run_name="pairs: {step.dataset}", tags=["pairs"], cache_policy=NO_CACHE)
def pairs(step: Step, setting: Setting) -> State[Any] | dict[str, Any]:
    return _timed(ui.tags_of(step.source), stages.pairs, step, setting)


@task(name="mine", task_run_name="mine: {step.dataset}", tags=["mine"], cache_policy=NO_CACHE)
def mine(step: Step, setting: Setting) -> State[Any] | dict[str, Any]:
    return _timed(ui.tags_of(step.source), stages.mine, step, setting)


@task(name="shards", task_run_name="shards: {step.dataset}", tags=["shards"], cache_policy=NO_CACHE)
def shards(step: Step, setting: Setting, chain: Mapping[str, Spec]) -> State[Any] | dict[str, Any]:
    """Also shows the dataset's page in the UI; `chain` has the specs of all its stages."""
    made = _timed(ui.tags_of(step.source), stages.shards, step, setting, chain["fetch"])
    ui.show_dataset(step.source, chain, setting.store, setting.config.origin)
    return made


@task(name="publish", task_run_name="publish", tags=["publish"], cache_policy=NO_CACHE)
def publish(
    spec: Spec,
    publication: Publication,
    leaks: Spec | None,
    setting: Setting,
) -> State[Any] | dict[str, Any]:
    return report(stages.publish(spec, publication, leaks, setting))


def _timed(
    tags: Sequence[str], stage: Callable[..., tuple[Artifact, bool]], *arguments: Any
) -> State[Any] | dict[str, Any]:
    """A stage of a dataset: its task run is tagged, and the report says how long it took."""
    ui.tag(*tags)
    began = monotonic()
    made = stage(*arguments)
    return report(made, monotonic() - began)


def report(
    made: tuple[Artifact, bool], seconds: float | None = None
) -> State[Any] | dict[str, Any]:
    """What a task returns: where its artifact is; state "Cached" where it was there already."""
    artifact, built = made
    reference: dict[str, Any] = {"key": artifact.manifest.key, "folder": str(artifact.folder)}
    if seconds is not None:
        reference["seconds"] = round(seconds, 2)
    if not built:
        return Completed(name="Cached", message=f"found {artifact.folder}", data=reference)
    return reference


def failure(future: PrefectFuture[Any]) -> str | None:
    """Wait for a task; the words of its error on one line, None where it did its work."""
    future.wait()
    if future.state.is_completed():
        return None
    error = future.state.result(raise_on_failure=False)
    kind = "" if isinstance(error, DatasetError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}".split())
