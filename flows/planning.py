"""What a build would do, by arithmetic over records, annotations and keys. Imports no Prefect."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from annotations.load import load_annotation
from annotations.render import instructions
from artifacts import publish, shards
from artifacts.keys import Spec
from artifacts.location import Location
from artifacts.models import resolve_model
from artifacts.publish import Entry
from artifacts.store import Store
from medi_sources import fetch
from medi_sources.catalog import load_catalog, select
from medi_sources.pairs import VERSION as PAIRS_VERSION
from medi_sources.records import Source
from mining.options import VERSION as MINE_VERSION
from tasks.config import BuildConfig, pairs_options
from tasks.sample import mirror_of
from tasks.steps import Setting, Step

_NO_CHANGE_OF_RESULT = {"memory_mib", "device"}  # of mining: its search is exact on any


@dataclass(frozen=True)
class BuildPlan:
    """`chains` has the four steps of every dataset; `publish_problem` is None when up to date."""

    setting: Setting
    chains: Mapping[str, Mapping[str, Step]]
    publish: Spec
    publish_problem: str | None

    @property
    def stale(self) -> list[Step]:
        """The steps that must run, dataset by dataset, upstream first."""
        return [step for chain in self.chains.values() for step in chain.values() if step.problem]

    @property
    def cached(self) -> int:
        steps = [step for chain in self.chains.values() for step in chain.values()]
        return sum(not step.problem for step in steps) + (self.publish_problem is None)

    @property
    def keys(self) -> list[str]:
        """Of every artifact that the build reads or makes."""
        return [step.spec.key for c in self.chains.values() for step in c.values()] + [
            self.publish.key
        ]

    def report(self) -> dict[str, Any]:
        """The JSON of `medi plan --json`."""
        run = [{"dataset": s.dataset, "stage": s.stage, "reason": s.problem} for s in self.stale]
        if self.publish_problem:
            run.append({"dataset": "medi", "stage": "publish", "reason": self.publish_problem})
        return {"run": run, "cached": self.cached}

    def without(self, failed: Collection[str]) -> BuildPlan:
        """The plan of the datasets that are left, with a publish key of their own."""
        if not failed:
            return self
        chains = {name: chain for name, chain in self.chains.items() if name not in failed}
        return _plan(self.setting, chains, failed)

    def facts(self) -> dict[str, Any]:
        """What the published manifest says of the build as a whole: its key, and what is in it."""
        return {"key": self.publish.key, **self.publish.params["build"]}

    def entries(self) -> list[Entry]:
        """What publishing reads; LookupError where an artifact is not in the store."""
        return [self._entry(name) for name in self.chains]

    def _entry(self, name: str) -> Entry:
        chain = self.chains[name]
        found = {stage: self.setting.store.get(step.spec) for stage, step in chain.items()}
        record = chain["shards"].source.model_dump(mode="json")
        return Entry(name, record, chain["shards"].instructions, found)


def plan_build(
    config: BuildConfig, store: Store, mirror: str | None, only: Sequence[str] | None = None
) -> BuildPlan:
    """Raises InputError for unknown datasets, missing annotations, models that are none."""
    sources = select(load_catalog(), config.datasets)
    chosen = [s for s in sources if not only or s.name in _known(only, sources)]
    files = mirror_of(config, store, mirror)
    encoder = resolve_model(config.encoder, files)
    superni_encoder = resolve_model(config.superni_encoder, files)
    setting = Setting(store, files, config, encoder, superni_encoder)
    return _plan(setting, {source.name: _chain(source, setting) for source in chosen})


def _plan(
    setting: Setting, chains: Mapping[str, Mapping[str, Step]], failed: Collection[str] = ()
) -> BuildPlan:
    spec = _publish_spec(setting, chains, failed)
    return BuildPlan(setting, chains, spec, setting.store.problem(spec))


def _known(only: Sequence[str], sources: Sequence[Source]) -> set[str]:
    return {s.name for s in select({s.name: s for s in sources}, only)}


def require_sources(plan: BuildPlan) -> None:
    """Raise InputError where a file that must be fetched is nowhere to be had."""
    fetch.require_available(
        [(s.dataset, s.source.location) for s in plan.stale if s.stage == "fetch"],
        plan.setting.mirror,
    )


def fetch_spec(dataset: str, location: Location, origin: str, seed: int) -> Spec:
    """The files of `location`, from upstream (a mirror holds the same) or from the sample world."""
    world = {"kind": origin, "seed": seed if origin == "sample" else None}
    params = {"location": location.model_dump(mode="json"), "origin": world}
    return Spec("fetch", dataset, fetch.VERSION, params)


def _chain(source: Source, setting: Setting) -> dict[str, Step]:
    config = setting.config
    annotation = load_annotation(source.name)
    rendered = instructions(annotation, level=config.detail)
    encoding = config.encoding.model_dump(mode="json")
    superni = source.reader.layout == "superni"
    steps: dict[str, Step] = {}

    def add(stage: str, version: int, params: Mapping[str, Any]) -> None:
        upstream = list(steps.values())[-1].spec
        spec = Spec(stage, source.name, version, params, {upstream.stage: upstream.key})
        steps[stage] = _step(spec, upstream)

    def _step(spec: Spec, upstream: Spec | None) -> Step:
        return Step(spec, source, rendered, upstream, setting.store.problem(spec))

    raw = fetch_spec(source.name, source.location, config.origin, config.seed)
    steps["fetch"] = _step(raw, None)
    pairs = {
        "reader": source.reader.model_dump(mode="json"),
        "options": pairs_options(source, config).model_dump(mode="json"),
        "encoder": [setting.superni_encoder.key, encoding] if superni else None,
    }
    add("pairs", PAIRS_VERSION, pairs)
    mine = {
        "encoder": [setting.encoder.key, encoding],
        "options": config.mining.model_dump(mode="json", exclude=_NO_CHANGE_OF_RESULT),
        "symmetric": source.symmetric,
    }
    add("mine", MINE_VERSION, mine)
    published = {
        "annotation": annotation.model_dump(mode="json"),
        "instructions": list(rendered),
        "options": config.shards.model_dump(mode="json"),
    }
    add("shards", shards.VERSION, published)
    return steps


def _publish_spec(
    setting: Setting, chains: Mapping[str, Mapping[str, Step]], failed: Collection[str]
) -> Spec:
    config = setting.config
    build = {
        "origin": config.origin,
        "encoder": {"name": config.encoder, "key": setting.encoder.key},
        "superni_encoder": {"name": config.superni_encoder, "key": setting.superni_encoder.key},
        "seed": config.seed,
        "failed": sorted(failed),
    }
    records = {n: c["shards"].source.model_dump(mode="json") for n, c in chains.items()}
    keys = {name: chain["shards"].spec.key for name, chain in chains.items()}
    return Spec("publish", "medi", publish.VERSION, {"records": records, "build": build}, keys)
