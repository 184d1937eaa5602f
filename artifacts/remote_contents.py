"""All that lies in a store on object storage, and whether it is whole."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from artifacts.remote import Remote
from artifacts.remote_manifest import Damaged, Uploaded, difference, path_of
from artifacts.remote_trouble import StoreError

_AT_ONCE = 8  # artifacts that are hashed
_CHANGED = ("LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class Upload:
    """The files of one attempt: paths below the root, bytes, when the last of them was put."""

    name: str
    attempt: str
    paths: tuple[str, ...]
    size: int
    changed: float


@dataclass(frozen=True)
class Contents:
    """`changed`: name of an artifact -> when its manifest was put, in seconds since 1970.

    `strays` are no part of a store.
    """

    artifacts: Mapping[str, Uploaded | Damaged]
    changed: Mapping[str, float]
    uploads: Mapping[tuple[str, str], Upload]
    strays: list[str]

    @property
    def unnamed(self) -> list[Upload]:
        """Uploads that no manifest names: cut short, being done now, or of what was replaced."""
        named = {(n, a.attempt) for n, a in self.artifacts.items() if isinstance(a, Uploaded)}
        return [upload for where, upload in self.uploads.items() if where not in named]

    @property
    def extra(self) -> list[str]:
        """Paths of files that lie among those of an artifact, and that its manifest has not."""
        found: list[str] = []
        for name, artifact in self.artifacts.items():
            if isinstance(artifact, Uploaded):
                upload = self.uploads.get((name, artifact.attempt))
                files = artifact.manifest.files
                named = {path_of(name, artifact.attempt, file) for file in files}
                found += [path for path in upload.paths if path not in named] if upload else []
        return found


def contents_of(remote: Remote) -> Contents:
    """Files are listed before manifests, so that no finished upload looks like one cut short."""
    files, manifests = remote.find("files"), remote.find("manifests")
    strays: list[str] = []
    attempts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in files:
        parts = path.split("/")
        if len(parts) > 5:
            attempts["/".join(parts[1:4]), parts[4]].append(path)
        else:
            strays.append(path)
    changed: dict[str, float] = {}
    for path, info in manifests.items():
        parts = path.removesuffix(".json").split("/")
        if len(parts) == 4 and path.endswith(".json"):
            changed["/".join(parts[1:])] = _changed(info)
        else:
            strays.append(path)
    uploads = {
        (name, attempt): Upload(
            name,
            attempt,
            tuple(paths),
            sum(int(files[path]["size"]) for path in paths),
            max(_changed(files[path]) for path in paths),
        )
        for (name, attempt), paths in attempts.items()
    }
    return Contents(remote.read_all(list(changed)), changed, uploads, strays)


def verify(remote: Remote, contents: Contents) -> Iterator[tuple[str, str]]:
    """Hash every file of every artifact; the broken ones with what is wrong.

    They are artifacts no more, so that the next command makes them again.
    """

    def check(name: str, found: Uploaded | Damaged) -> str | None:
        if isinstance(found, Damaged):
            attempt, why = None, str(found)
        else:
            wrong = _wrong(remote, name, found) and _wrong(remote, name, found)
            if not wrong:
                return None
            attempt, why = found.attempt, wrong
        with suppress(StoreError):  # a store that may only be read
            remote.discard(name, attempt)
        return why

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = contents.artifacts
        checked = zip(found, pool.map(check, found, found.values()), strict=True)
        yield from ((name, why) for name, why in checked if why)


def _wrong(remote: Remote, name: str, found: Uploaded) -> str | None:
    for file, entry in found.manifest.files.items():
        try:
            there = remote.fingerprint(path_of(name, found.attempt, file))
        except FileNotFoundError:
            return f"{file} is missing"
        if why := difference(file, entry, there):
            return why
    return None


def _changed(info: Mapping[str, Any]) -> float:
    """Seconds since 1970; now, where the store does not tell."""
    found = next((info[field] for field in _CHANGED if info.get(field)), None)
    if isinstance(found, str):
        with suppress(ValueError):
            found = datetime.fromisoformat(found)
    if isinstance(found, datetime):
        return found.timestamp()
    return float(found) if isinstance(found, int | float) else time.time()
