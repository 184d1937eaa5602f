"""`medi verify` and `medi gc`: what is broken, half written or needed by nobody in a store."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from artifacts.remote import Remote
from artifacts.sealing import unnamed
from artifacts.store import Store
from flows.garbage import (
    Item,
    delete,
    find_garbage,
    held_keys,
    is_done,
    is_held,
    is_resumable,
    lock_of_training,
)
from flows.upkeep_remote import delete_remote, find_remote_garbage, verify_remote
from flows.wanted import Wanted, plan_wanted

_DAY_S = 86_400


def run_verify(store: str) -> int:
    """Exit status: 1 where an artifact is broken. What is left over costs only room."""
    kept = _existing(store)
    remotely = verify_remote(kept.remote) if kept.remote else 0
    broken = {path: wrong for path, wrong in kept.verify() if not _is_empty(path)}
    for path, wrong in broken.items():
        print(f"{path}: {wrong}")
    held = kept.held()
    left = [*_leftovers(kept, held)]
    for item in left:
        print(f"{item.path}: {item.why}")
    locks = len([*(kept.root / ".locks").glob("*")]) - len(held)
    print(
        f"{len(broken)} broken artifacts, {len(left)} left over{_in_cache(kept)}; {len(held)} "
        f"locks held by running flows, {locks} free lock files (harmless)"
    )
    return 1 if broken or remotely else 0


def _leftovers(store: Store, held: Collection[str]) -> Iterator[Item]:
    for path in store.artifacts():
        if _is_empty(path):
            yield Item(path, "empty folder: no artifact")
        for file in unnamed(path):
            yield Item(file, "no part of an artifact")
    for path in sorted(store.root.glob("*")) + sorted(store.root.glob("[!.]*/*")):
        if path.is_file():
            yield Item(path, "no part of a store")
    for path in sorted(store.root.glob("[!.]*/*/*")):
        if path.is_file():
            yield Item(path, "no part of an artifact")
    for path in sorted(store.root.glob(".tmp/*")):
        if not is_held(path.name, held) and _is_old(path):
            yield Item(path, "half written by a run that was killed")
    for path in sorted(store.root.glob(".runs/*")):
        if lock_of_training(path.name) in held:
            continue
        if is_done(store, path):
            yield Item(path, "work folder of a training that is done")
        elif not is_resumable(path):
            yield Item(path, "work folder of a training that nothing goes on from: no checkpoint")


def _is_empty(folder: Path) -> bool:
    """Also where it goes meanwhile."""
    try:
        return not any(folder.iterdir())
    except FileNotFoundError:
        return True
    except OSError:  # a damaged one holds something
        return False


def _is_old(path: Path) -> bool:
    """False also where it goes meanwhile."""
    try:
        return path.stat().st_mtime < time.time() - _DAY_S
    except FileNotFoundError:
        return False


def run_gc(
    profiles: Sequence[str],
    medi: Sequence[str],
    models: Sequence[str],
    days: float,
    mirror: str | None,
    store: str,
    fields: Mapping[str, Any],
    really: bool,
) -> int:
    """Prints what may go and why; with `really` it goes. Exit status: 0."""
    kept = _existing(store)
    wanted = plan_wanted(kept, profiles, medi, models, mirror, fields)
    with kept.deleting() if really else nullcontext():
        _gc(kept, wanted, days, really)
    return 0


def _gc(kept: Store, wanted: Wanted, days: float, really: bool) -> None:
    if kept.remote:
        _gc_remote(kept.remote, wanted, held_keys(kept), days, really)
    found = find_garbage(kept, wanted, days)
    total = gone = 0
    for item in found.goes:
        name, size = str(item.path.relative_to(kept.root)), item.size
        if really and not delete(kept, item):
            print(f"{'kept':>10}  {name}: a running flow has come for it")
            continue
        total, gone = total + size, gone + 1
        print(f"{_human(size):>10}  {name}: {item.why}")
    _tell_kept(
        (item.path.relative_to(kept.root).parts[0], item.why, item.size) for item in found.unjudged
    )
    if found.in_use:
        print(f"kept, in use: what {', '.join(found.in_use)} needs")
    _tell_total(f"{gone} folders{_in_cache(kept)}", total, really)


def _gc_remote(
    remote: Remote,
    wanted: Wanted,
    held: Mapping[str, Mapping[str, str]],
    days: float,
    really: bool,
) -> None:
    found = find_remote_garbage(remote, wanted, held, days)
    total = gone = 0
    for item in found.goes:
        if really and not delete_remote(remote, item):
            print(f"{'kept':>10}  {item.name}: another has come for it")
            continue
        total, gone = total + item.upload.size, gone + 1
        print(f"{_human(item.upload.size):>10}  {item.name}: {item.why}")
    _tell_kept(found.unjudged)
    _tell_total(f"{gone} uploads in {remote.location}", total, really)


def _tell_total(what: str, size: int, really: bool) -> None:
    done = "deleted" if really else "would go, --delete deletes them"
    print(f"{what}, {_human(size).strip()}: {done}")


def _tell_kept(unjudged: Iterable[tuple[str, str, int]]) -> None:
    """(stage, why, bytes) of each; a line a stage and reason, not one an artifact."""
    groups: dict[tuple[str, str], list[int]] = defaultdict(list)
    for stage, why, size in unjudged:
        groups[stage, why].append(size)
    for (stage, why), sizes in sorted(groups.items()):
        print(f"kept, not judged: {len(sizes)} of {stage}, {_human(sum(sizes))}: {why}")


def _in_cache(store: Store) -> str:
    return f" in the cache {store.root}" if store.remote else ""


def _existing(store: str) -> Store:
    found = Store.open(store)
    if not found.root.is_dir():
        raise InputError(f"store {found.root}: no such folder (MEDI_STORE or --store)")
    return found


def _human(size: int) -> str:
    amount = float(size)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
