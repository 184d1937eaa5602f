"""What `medi gc` must keep: what the named profiles build, train and evaluate, by their plans."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from artifacts.manifest import MANIFEST
from artifacts.models import ModelRef, resolve_model
from artifacts.publish import require_medi
from artifacts.store import Store
from evaluation.catalog import select
from flows.needs import keys_inside, needs_of_build, needs_of_training
from flows.planning import plan_build
from flows.planning_steps import fetch_spec
from flows.planning_training import plan_train
from flows.profiles import get_profile, override
from tasks.config import Profile
from tasks.sample import mirror_of

OF_BUILDS = {
    "sample", "fetch", "pairs", "mine", "shards", "embeddings", "texts", "decontaminate", "publish",
}  # fmt: skip
OF_TRAININGS = {"tokens", "plan", "train"}
OF_MODELS = {"evaluate", "vectors"}
_NAME_MEDI = "name the MEDI folders that are trained on: --medi DIR"
_NAME_MODELS = "name the models whose results stay: --model DIR"


@dataclass(frozen=True)
class Wanted:
    """`keys` of artifacts, `models`: keys of the weights whose results and vectors stay.

    `unjudged`: stages of which nothing may go -> why.
    """

    keys: frozenset[str]
    models: frozenset[str]
    unjudged: Mapping[str, str]


def plan_wanted(
    store: Store,
    profiles: Sequence[str],
    medi: Sequence[str],
    models: Sequence[str],
    mirror: str | None,
    fields: Mapping[str, Any],
) -> Wanted:
    """`fields` are those of the builds, and `train.steps`, `evaluate.tasks` of the others.

    Raises InputError for bad input: what is kept hangs on all of it.
    """
    for folder in medi:
        require_medi(Path(folder))
    parts = _parts(fields)
    keys = {key for folder in medi for key in _of_published(Path(folder))}
    mirrors: list[Path | None] = []
    unjudged = {} if medi else dict.fromkeys(OF_TRAININGS, _NAME_MEDI)
    for name in profiles:
        profile = get_profile(name)
        config = override(profile.build, parts["build"])
        keys |= needs_of_build(plan_build(config, store, mirror))
        keys |= {*_of_evaluations(profile, parts["evaluate"])}
        for build in (config, profile.build):
            mirrors.append(mirror_of(build, store, mirror))
            keys |= {*keys_inside(store, mirrors[-1])}
        for folder in medi:
            try:
                where = (folder, None, name, None, mirror, store.location)
                training = plan_train(*where, parts["train"])
            except InputError as error:
                unjudged |= dict.fromkeys(OF_TRAININGS, f"{name} cannot be planned here: {error}")
                continue
            keys |= needs_of_training(training)
    named, unknown = _named(models, mirrors)
    if not models or unknown:
        unjudged |= dict.fromkeys(OF_MODELS, unknown or _NAME_MODELS)
    return Wanted(frozenset(keys), frozenset(named), unjudged)


def _parts(fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {"build": {}, "train": {}, "evaluate": {}}
    for name, value in fields.items():
        section, _, rest = name.partition(".")
        if section in parts and rest:
            parts[section][rest] = value
        else:
            parts["build"][name] = value
    return parts


def _of_published(medi: Path) -> Iterator[str]:
    """What the folder was made from; what that was made from, the manifests tell."""
    manifest = json.loads((medi / MANIFEST).read_text(encoding="utf-8"))
    yield manifest["build"]["key"]
    for dataset in manifest["datasets"].values():
        yield from dataset["keys"].values()


def _of_evaluations(profile: Profile, fields: Mapping[str, Any]) -> Iterator[str]:
    """The files of the tasks that a profile evaluates."""
    build = profile.build
    for task in select(override(profile.evaluate, fields).tasks):
        if task.location is not None:
            yield fetch_spec(f"eval-{task.name}", task.location, build.origin, build.seed).key


def _named(models: Sequence[str], mirrors: Sequence[Path | None]) -> tuple[set[str], str]:
    """Keys of the weights of `models` and of their baselines; why one of the latter is unknown."""
    keys: set[str] = set()
    for name in models:
        model = _resolved(name, mirrors)
        keys.add(model.key)
        record = model.folder / "medi.json"
        if record.is_file():
            baseline = str(json.loads(record.read_text(encoding="utf-8"))["base_encoder"])
            try:
                keys.add(_resolved(baseline, mirrors).key)
            except InputError as error:
                return keys, f"the baseline of {name} cannot be had: {error}"
    return keys, ""


def _resolved(name: str, mirrors: Sequence[Path | None]) -> ModelRef:
    """From the first of the profiles' mirrors that has it."""
    for mirror in dict.fromkeys(mirrors):
        if mirror and (mirror / "huggingface.co" / name).is_dir():
            return resolve_model(name, mirror)
    return resolve_model(name, None)
