"""The store: one folder per artifact, `<root>/<stage>/<dataset>/<key>/`, manifest.json in it.

An artifact is built in `<root>/.tmp`, its manifest is written last and the folder renamed into
place: no manifest, no artifact. Its files carry one fixed modification time, so that a file which
was written to afterwards is noticed at the cost of a stat and hashed before it is trusted.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.errors import InputError
from artifacts.keys import Spec, canonical_json, sha256_file
from artifacts.manifest import MANIFEST as MANIFEST  # for whoever reads artifacts
from artifacts.manifest import FileEntry as FileEntry
from artifacts.manifest import Manifest, read_manifest, write_manifest
from artifacts.manifest import file_entry as file_entry

_SEALED_NS = 946_684_800 * 10**9  # 2000-01-01: "unchanged since it was committed"

# Writes the files of an artifact into a folder and returns its counts (JSON values).
Make = Callable[[Path], Mapping[str, Any]]


@dataclass(frozen=True)
class Artifact:
    """A complete artifact on disk."""

    folder: Path
    manifest: Manifest

    def file(self, name: str) -> Path:
        if name not in self.manifest.files:
            raise KeyError(f"{self.folder} has no file {name!r}")
        return self.folder / name

    @property
    def files(self) -> list[Path]:
        return [self.folder / name for name in sorted(self.manifest.files)]


class Store:
    """Finds, checks and builds artifacts below one local folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, location: str) -> Store:
        """Raises InputError for a location that is not a local folder."""
        if "://" in location:
            raise InputError(f"store {location!r}: give a local folder (MEDI_STORE or --store)")
        root = Path(location).expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise InputError(f"store {root} is a file: give a folder (MEDI_STORE or --store)")
        return cls(root)

    def folder(self, spec: Spec) -> Path:
        return self.root / spec.stage / spec.dataset / spec.key

    def find(self, spec: Spec) -> Artifact | None:
        """The artifact of `spec`, or None where it is missing or broken (see `problem`)."""
        return self.find_key(spec.stage, spec.dataset, spec.key)

    def find_key(self, stage: str, dataset: str, key: str) -> Artifact | None:
        """The artifact of that key, where its spec is not at hand; None as `find`."""
        folder = self.root / stage / dataset / key
        return None if broken(folder, deep=False) else self._read(folder)

    def get(self, spec: Spec) -> Artifact:
        """The artifact of `spec`; LookupError where it is missing or broken."""
        artifact = self.find(spec)
        if artifact is None:
            raise LookupError(f"{spec} is not in the store {self.root}: {self.problem(spec)}")
        return artifact

    def problem(self, spec: Spec) -> str | None:
        """Why the artifact of `spec` must be built; None when it is there and whole."""
        folder = self.folder(spec)
        if not folder.exists():
            older = folder.parent.exists() and any(folder.parent.iterdir())
            return "inputs changed" if older else "never built"
        return broken(folder, deep=False)

    def _read(self, folder: Path) -> Artifact:
        return Artifact(folder, read_manifest(folder))

    def build(
        self, spec: Spec, make: Make, environment: Mapping[str, str] | None = None
    ) -> tuple[Artifact, bool]:
        """The artifact of `spec`, made now or found; the flag says whether it was made.

        Two processes that ask for one key at once make it once. What `make` raises goes through,
        and leaves nothing behind that could be taken for an artifact.
        """
        found = self.find(spec)  # before the lock: a store that is full or read-only serves it
        if found is not None:
            return found, False
        with self._lock(spec):
            found = self.find(spec)
            if found is not None:
                return found, False
            with self._scratch(spec) as scratch:
                counts = make(scratch)
                self._commit(spec, scratch, counts, environment or {})
        return self._read(self.folder(spec)), True

    def _commit(
        self, spec: Spec, scratch: Path, counts: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        names = sorted(p.relative_to(scratch).as_posix() for p in scratch.rglob("*") if p.is_file())
        manifest = Manifest(
            stage=spec.stage,
            dataset=spec.dataset,
            key=spec.key,
            version=spec.version,
            params=dict(spec.params),
            inputs=dict(spec.inputs),
            counts=dict(counts),
            files={name: file_entry(scratch / name) for name in names},
            environment=dict(environment),
        )
        for name in names:
            os.utime(scratch / name, ns=(_SEALED_NS, _SEALED_NS))
        write_manifest(manifest, scratch)
        for name in [*names, MANIFEST]:
            sync(scratch / name)
        final = self.folder(spec)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            final.rename(self._new_scratch(lock_name(final)))
        scratch.rename(final)
        sync(final.parent)

    def _new_scratch(self, lock: str) -> Path:
        """Named after the lock that its writer holds, so that one sees whether he lives."""
        path = self.root / ".tmp" / f"{lock}.{uuid.uuid4().hex}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _scratch(self, spec: Spec) -> Iterator[Path]:
        path = self._new_scratch(lock_name(self.folder(spec)))
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _lock(self, spec: Spec) -> Iterator[None]:
        """The kernel lets the lock go when its holder dies, even by kill -9.

        Its file tells of what the artifact is made (see `held`).
        """
        path = self.root / ".locks" / lock_name(self.folder(spec))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.truncate(0)
            file.write(canonical_json(dict(spec.inputs)))
            file.flush()
            yield

    def held(self) -> dict[str, dict[str, str] | None]:
        """Name of each lock that a process holds now -> the inputs of what it builds.

        None where it has not told them yet.
        """
        folder = self.root / ".locks"
        found: dict[str, dict[str, str] | None] = {}
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            with path.open() as file:
                if not _is_free(file.fileno()):
                    found[path.name] = None
                    with suppress(json.JSONDecodeError):
                        found[path.name] = json.load(file)
        return found

    def remove(self, folder: Path, lock: str) -> bool:
        """Delete a folder of the store, at once for whoever looks.

        `lock` is the lock of who writes to it (`lock_name`); False where somebody does.
        """
        path = self.root / ".locks" / lock
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            if not _is_free(file.fileno()):
                return False
            aside = self._new_scratch(lock)
            folder.rename(aside)
        shutil.rmtree(aside)
        return True

    def artifacts(self) -> Iterator[Path]:
        """Every artifact folder of the store, whole or not."""
        if self.root.exists():
            yield from sorted(
                path
                for path in self.root.glob("*/*/*")
                if path.is_dir() and not path.relative_to(self.root).parts[0].startswith(".")
            )

    def verify(self) -> list[tuple[Path, str]]:
        """Hash every file of every artifact; the broken ones with what is wrong."""
        return [(path, wrong) for path in self.artifacts() if (wrong := broken(path, deep=True))]


def broken(folder: Path, *, deep: bool) -> str | None:
    """What is wrong with an artifact folder, or None.

    Sizes are always checked; a hash only when `deep`, or when the file was touched since it was
    committed (a touched file that still hashes right is sealed again, one that was found broken is
    no longer taken for sealed).
    """
    try:
        manifest = read_manifest(folder)
    except FileNotFoundError:
        return "manifest.json is missing"
    except ValueError as error:
        return str(error)
    if (manifest.stage, manifest.dataset, manifest.key) != folder.parts[-3:]:
        return f"manifest.json is that of {manifest.stage}/{manifest.dataset}/{manifest.key}"
    for name, entry in manifest.files.items():
        path = folder / name
        try:
            stat = path.stat()
        except FileNotFoundError:
            return f"{name} is missing"
        if stat.st_size != entry.size:
            return f"{name} has {stat.st_size} bytes instead of {entry.size}"
        touched = stat.st_mtime_ns != _SEALED_NS
        if (deep or touched) and sha256_file(path) != entry.sha256:
            with suppress(OSError):  # a store that may only be read
                os.utime(path)
            return f"{name} has changed"
        if touched:
            with suppress(OSError):
                os.utime(path, ns=(_SEALED_NS, _SEALED_NS))
    return None


def lock_name(folder: Path) -> str:
    """Of the artifact in `folder`."""
    return "-".join(folder.parts[-3:])


def _is_free(descriptor: int) -> bool:
    """Whether nobody holds the lock; then the descriptor does, until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sync(path: Path) -> None:
    """What was written to a file, or renamed in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
