"""What a build would do, by arithmetic over records, annotations and keys. Imports no Prefect."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts import publish
from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.models import resolve_model
from artifacts.publication import Entry, Publication
from artifacts.store import Store
from flows.planning_leaks import plan_leaks
from flows.planning_steps import NO_CHANGE_OF_RESULT, require_well_worded, steps_of
from medi_sources.available import require_available
from medi_sources.catalog import load_catalog, select, task_ids, with_own
from medi_sources.clean import REASONS
from medi_sources.records import Source
from tasks.config import BuildConfig
from tasks.sample import mirror_of
from tasks.steps import LeaksStep, Setting, Step

# What the published manifest and card tell of the settings.
_TOLD = {
    "seed", "max_rows", "licences", "detail", "superni_instructions", "cleaning", "mining",
    "decontamination",
}  # fmt: skip
_LATER_REASONS = {
    "too_few_negatives": "Fewer negatives than `negatives` passed the rules of mining.",
    "inconsistent": "The positive is not among the query's nearest documents.",
    "leak": "Query or positive, or every negative, is a text of an evaluation task.",
}


@dataclass(frozen=True)
class BuildPlan:
    """`chains` has the four steps of every dataset, `leaks` what decontamination does (None: it
    is off); `publish_problem` is None when the dataset folder is up to date.
    """

    setting: Setting
    chains: Mapping[str, Mapping[str, Step]]
    leaks: LeaksStep | None
    publish: Spec
    publish_problem: str | None

    @property
    def stale(self) -> list[Step]:
        """The steps that must run, dataset by dataset, upstream first."""
        return [step for chain in self.chains.values() for step in chain.values() if step.problem]

    @property
    def specs(self) -> list[tuple[Spec, str | None]]:
        """Every artifact that the build reads or makes, with why it must be made."""
        found = [(step.spec, step.problem) for c in self.chains.values() for step in c.values()]
        if self.leaks:
            found += [(data.spec, data.problem) for data in self.leaks.data]
            found += [(texts.spec, texts.problem) for texts in self.leaks.texts]
            found.append((self.leaks.spec, self.leaks.problem))
        return [*found, (self.publish, self.publish_problem)]

    @property
    def keys(self) -> list[str]:
        return [spec.key for spec, _ in self.specs]

    def report(self) -> dict[str, Any]:
        """The JSON of `medi plan --json`."""
        run = [
            {"dataset": spec.dataset, "stage": spec.stage, "reason": problem}
            for spec, problem in self.specs
            if problem
        ]
        return {"run": run, "cached": len(self.specs) - len(run)}

    def without(self, failed: Collection[str]) -> BuildPlan:
        """The plan of the datasets that are left, with a publish key of their own."""
        if not failed:
            return self
        chains = {name: chain for name, chain in self.chains.items() if name not in failed}
        return _plan(self.setting, chains, failed)

    def publication(self) -> Publication:
        """What publishing reads; LookupError where an artifact is not in the store."""
        facts = {"key": self.publish.key, **self.publish.params["build"]}
        reasons = {**REASONS, **_LATER_REASONS}
        entries = [self._entry(name) for name in self.chains]
        return Publication(entries, facts, self.publish.params["task_ids"], reasons)

    def _entry(self, name: str) -> Entry:
        chain, store, config = self.chains[name], self.setting.store, self.setting.config
        read = {"shards"} if config.superni_instructions == "written" else {"shards", "fetch"}
        found = {
            stage: store.get(step.spec) if stage in read else store.peek(step.spec)
            for stage, step in chain.items()
        }
        step = chain["shards"]
        said = step.spoken(found["fetch"], config)
        return Entry(name, step.source.model_dump(mode="json"), said, found)


def plan_build(
    config: BuildConfig, store: Store, mirror: str | None, only: Sequence[str] | None = None
) -> BuildPlan:
    """Raises InputError for unknown datasets, missing annotations, models that are none."""
    chosen = datasets_of(config, only)
    setting = Setting(
        store,
        files := mirror_of(config, store, mirror),
        config,
        resolve_model(config.encoder, files),
        resolve_model(config.superni_encoder, files),
        resolve_model(config.mining.veto, files) if config.mining.veto else None,
    )
    chains = {source.name: steps_of(source, setting) for source in chosen}
    require_well_worded([source for source in chosen if source.collection == "own"], config)
    return _plan(setting, chains)


def datasets_of(config: BuildConfig, only: Sequence[str] | None = None) -> list[Source]:
    """The records to build: the profile's, then those of the user's own folder.

    Raises InputError for a name that is not among them, or whose licence leaves it out.
    """
    catalog = load_catalog()
    names = list(config.datasets)
    if config.sources is not None:
        catalog = with_own(catalog, Path(config.sources))
        names += [name for name, source in catalog.items() if source.collection == "own"]
    sources = {source.name: source for source in select(catalog, names)}
    wanted = {source.name for source in select(sources, only)} if only else set(sources)
    chosen = [source for name, source in sources.items() if name in wanted]
    if config.licences == "any":
        return chosen
    allowed = [source for source in chosen if source.licence.commercial]
    for source in chosen if only else ():
        if source not in allowed:
            raise InputError(
                f"{source.name}: licences=commercial leaves it out, its licence "
                f"({source.licence.spdx}) is not known to allow commercial use"
            )
    return allowed


def _plan(
    setting: Setting, chains: Mapping[str, Mapping[str, Step]], failed: Collection[str] = ()
) -> BuildPlan:
    mined = {name: chain["mine"].spec for name, chain in chains.items()}
    leaks = plan_leaks(mined, setting)
    spec = _publish_spec(setting, chains, leaks, failed)
    return BuildPlan(setting, chains, leaks, spec, setting.store.problem(spec))


def require_sources(plan: BuildPlan) -> None:
    """Raise InputError where a file that must be fetched is nowhere to be had."""
    wanted = [(s.dataset, s.source.location) for s in plan.stale if s.stage == "fetch"]
    if plan.leaks:
        for texts in plan.leaks.texts:
            if texts.data.problem if texts.data else texts.problem:
                wanted += [(f"texts of {texts.spec.dataset}", place) for place in texts.needs]
    require_available(wanted, plan.setting.mirror)


def _publish_spec(
    setting: Setting,
    chains: Mapping[str, Mapping[str, Step]],
    leaks: LeaksStep | None,
    failed: Collection[str],
) -> Spec:
    config = setting.config
    build = {
        "origin": config.origin,
        "encoder": {"name": config.encoder, "key": setting.encoder.key},
        "superni_encoder": {"name": config.superni_encoder, "key": setting.superni_encoder.key},
        **config.model_dump(mode="json", include=_TOLD, exclude={"mining": NO_CHANGE_OF_RESULT}),
        "failed": sorted(failed),
    }
    params = {
        "records": {n: c["shards"].source.model_dump(mode="json") for n, c in chains.items()},
        "build": build,
        "task_ids": task_ids(load_catalog()),
    }
    keys = {name: chain["shards"].spec.key for name, chain in chains.items()}
    if leaks:
        keys["leaks"] = leaks.spec.key
    return Spec("publish", "medi", publish.VERSION, params, keys)
