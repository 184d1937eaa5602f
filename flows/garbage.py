"""What of a store may go, judged artifact by artifact; what cannot be judged stays."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from artifacts.errors import InputError
from artifacts.manifest import Manifest, read_manifest
from artifacts.models import key_of_files
from artifacts.store import Store, lock_name
from flows.wanted import OF_BUILDS, OF_MODELS, OF_TRAININGS, Wanted
from mining.embeddings import STAGE as EMBEDDINGS


@dataclass(frozen=True)
class Item:
    path: Path
    why: str

    @property
    def size(self) -> int:
        """Bytes; what goes meanwhile counts for nothing."""
        total = 0
        for folder, _, files in os.walk(self.path):
            for name in files:
                with suppress(FileNotFoundError):
                    total += Path(folder, name).stat().st_size
        return total


@dataclass(frozen=True)
class Garbage:
    goes: list[Item]
    unjudged: list[Item]
    in_use: list[str]  # locks that are held


def find_garbage(store: Store, wanted: Wanted, days: float) -> Garbage:
    """Raises as held_keys."""
    held = held_keys(store)
    old = time.time() - days * 86_400
    paths = {path.relative_to(store.root).as_posix(): path for path in store.artifacts()}
    judged = judge({name: _manifest(path) for name, path in paths.items()}, wanted, held)
    goes = [Item(paths[name], why) for name, (why, goes) in judged.items() if goes]
    goes += _scratch(store, held)
    runs = _runs(store, wanted, _used(held), {item.path for item in goes})
    goes += [item for item, may_go in runs if may_go]
    unjudged = [Item(paths[name], why) for name, (why, goes) in judged.items() if why and not goes]
    unjudged += [item for item, may_go in runs if item.why and not may_go]
    return Garbage([one for one in goes if _changed(one.path) <= old], unjudged, sorted(held))


def held_keys(store: Store) -> dict[str, dict[str, str]]:
    """Locks that running flows and their stages hold, with the keys that each of them needs.

    Raises InputError where one begins at this very moment.
    """
    held: dict[str, dict[str, str]] = {}
    for lock, keys in store.held().items():
        if keys is None:
            raise InputError(
                f"store {store.root}: a flow has just begun to write there, run it again"
            )
        held[lock] = keys
    return held


Judged = Mapping[str, tuple[str, bool]]


def judge(
    manifests: Mapping[str, Manifest | None], wanted: Wanted, held: Mapping[str, Mapping[str, str]]
) -> Judged:
    """Name, `<stage>/<dataset>/<key>`, of each artifact -> (why, whether it may go).

    `manifests`: None for a broken one. An artifact that stays without having been judged has a
    `why`, too.
    """
    used = _used(held)
    models = wanted.models | used
    judged = {name: _judged(name, made, wanted, models) for name, made in manifests.items()}
    spared = {_key(name) for name, (_, goes) in judged.items() if not goes}
    spared |= used | {_key(name) for name, made in manifests.items() if _may_be_used(made, used)}
    kept = _made_from(spared, {_key(name): made for name, made in manifests.items()})
    return {name: ("", False) if goes and _key(name) in kept else (why, goes)
            for name, (why, goes) in judged.items()}  # fmt: skip


def _used(held: Mapping[str, Mapping[str, str]]) -> set[str]:
    """Keys of what running flows make and read."""
    made = {lock.rpartition("-")[2] for lock in held}
    return made | {key for keys in held.values() for key in keys.values()}


def _may_be_used(manifest: Manifest | None, used: Collection[str]) -> bool:
    """Of which embeddings a stage takes the vectors, it knows when it has read the texts."""
    return bool(manifest and manifest.stage == EMBEDDINGS and manifest.params.get("model") in used)


def _key(name: str) -> str:
    return name.rpartition("/")[2]


def _manifest(path: Path) -> Manifest | None:
    try:
        return read_manifest(path)
    except (OSError, ValueError):
        return None


def is_resumable(run: Path) -> bool:
    """Whether a training goes on from what lies in its work folder."""
    return any((run / "checkpoints").glob("step-*/manifest.json"))


def is_done(store: Store, run: Path) -> bool:
    """Whether the model of the work folder is in the store, whole. Downloads nothing."""
    if Store.find_key(store, "train", "model", run.name):  # of a RemoteStore: in its cache
        return True
    return store.remote is not None and run.name in store.remote.keys("train").get("model", ())


def lock_of_training(key: str) -> str:
    """Of who trains the model of that key, and writes to its work folder."""
    return lock_name(Path("train", "model", key))


def is_held(name: str, held: Collection[str]) -> bool:
    """Whether the writer of the scratch folder `name` lives."""
    return name.rpartition(".")[0] in held


def delete(store: Store, item: Item) -> bool:
    """False where a flow has come for it in the meantime."""
    inside = item.path.relative_to(store.root).parts
    if inside[0] == ".runs":
        return store.remove(item.path, lock_of_training(inside[1]))
    if inside[0] == ".tmp":
        return store.remove(item.path, item.path.name.rpartition(".")[0] or item.path.name)
    return store.remove(item.path, lock_name(item.path))


def _judged(
    name: str, manifest: Manifest | None, wanted: Wanted, models: Collection[str]
) -> tuple[str, bool]:
    stage = name.partition("/")[0]
    if _key(name) in wanted.keys:
        return "", False
    if stage in wanted.unjudged:
        return wanted.unjudged[stage], False
    if stage in OF_BUILDS or stage in ("tokens", "plan"):
        return "no named profile needs it", True
    if stage not in OF_MODELS | OF_TRAININGS:
        return "no stage that this version knows", False
    try:
        named = manifest is not None and _model_of(manifest) in models
    except (KeyError, TypeError):
        manifest = None
    if manifest is None:
        return "broken: whose model it is of cannot be read", False
    return "" if named else "of no named model", not named


def _model_of(manifest: Manifest) -> str:
    """The key of a model's weights."""
    if manifest.stage == "vectors":
        return str(manifest.params["space"]["model"])
    if manifest.stage == "evaluate":
        return manifest.inputs["model"]
    inside = "model/"
    files = {
        n.removeprefix(inside): e.sha256 for n, e in manifest.files.items() if n.startswith(inside)
    }
    return key_of_files(files)


def _made_from(keys: Iterable[str], manifests: Mapping[str, Manifest | None]) -> set[str]:
    """`keys`, and those of all that they are made from."""
    found: set[str] = set()
    left = [*keys]
    while left:
        key = left.pop()
        if key in found:
            continue
        found.add(key)
        manifest = manifests.get(key)
        if manifest is None:  # not there, or broken: it names nothing
            continue
        encoded = manifest.counts.get("embeddings")
        left += [*manifest.inputs.values(), *(encoded if isinstance(encoded, list) else [])]
    return found


def _scratch(store: Store, held: Collection[str]) -> list[Item]:
    folder = store.root / ".tmp"
    found = sorted(path for path in folder.glob("*") if path.is_dir())
    why = "half written by a run that was killed"
    return [Item(path, why) for path in found if not is_held(path.name, held)]


def _runs(
    store: Store, wanted: Wanted, used: Collection[str], going: Collection[Path]
) -> list[tuple[Item, bool]]:
    """Work folders of trainings, judged as `_judged`. Logs stay as long as their model."""
    folder = store.root / ".runs"
    found: list[tuple[Item, bool]] = []
    for run in sorted(path for path in folder.glob("*") if path.is_dir()):
        if run.name in used:
            continue
        if is_done(store, run):
            if store.root / "train" / "model" / run.name in going:
                found.append((Item(run, "logs of a model that goes"), True))
            elif (run / "checkpoints").exists():
                found.append((Item(run / "checkpoints", "of a training that is done"), True))
        elif not is_resumable(run):
            found.append((Item(run, "of a training that ended before a checkpoint"), True))
        elif "train" in wanted.unjudged:
            found.append((Item(run, wanted.unjudged["train"]), False))
        elif run.name not in wanted.keys:
            found.append((Item(run, "no named training goes on from it"), True))
    return found


def _changed(path: Path) -> float:
    """When the folder or something directly in it changed last, less sealed files.

    Of one that goes meanwhile: at the end of time.
    """
    try:
        return max([path.stat().st_mtime, *(p.stat().st_mtime for p in path.iterdir())])
    except FileNotFoundError:
        return math.inf
