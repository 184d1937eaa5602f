"""The store: one folder per artifact, `<root>/<stage>/<dataset>/<key>/`, manifest.json in it.

An artifact is built in `<root>/.tmp`, its manifest is written last and the folder renamed into
place: no manifest, no artifact. Its files carry one fixed modification time, so that a file which
was written to afterwards is noticed at the cost of a stat and hashed before it is trusted.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts import locks
from artifacts.errors import InputError, NotInStore
from artifacts.keys import Spec
from artifacts.locks import lock_name as lock_name
from artifacts.manifest import MANIFEST as MANIFEST  # for whoever reads artifacts
from artifacts.manifest import FileEntry as FileEntry
from artifacts.manifest import Manifest, read_manifest
from artifacts.manifest import file_entry as file_entry
from artifacts.sealing import broken as broken
from artifacts.sealing import seal
from artifacts.sealing import sync as sync

if TYPE_CHECKING:
    from artifacts.remote import Remote

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
    """Finds, checks and builds artifacts below one local folder.

    RemoteStore is one whose folder is a cache of `remote`.
    """

    remote: Remote | None = None

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def open(cls, location: str) -> Store:
        """A folder, or s3://bucket/prefix and other object stores that fsspec knows.

        Raises InputError for a location that is none, or where nothing can be listed.
        """
        if "://" in location:
            from artifacts.remote_store import open_remote  # fsspec: only where it is asked for

            return open_remote(location)
        root = Path(location).expanduser().absolute()
        if root.exists() and not root.is_dir():
            raise InputError(f"store {root} is a file: give a folder (MEDI_STORE or --store)")
        return cls(root)

    @property
    def _locks(self) -> Path:
        return self.root / ".locks"

    @property
    def location(self) -> str:
        """What opens this store again."""
        return str(self.root)

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
        """The artifact of `spec`; NotInStore where it is missing or broken."""
        return self.get_key(spec.stage, spec.dataset, spec.key)

    def peek(self, spec: Spec) -> Artifact:
        """As `get`, for the sake of its manifest: the files may be elsewhere."""
        return self.get(spec)

    def get_key(self, stage: str, dataset: str, key: str) -> Artifact:
        """As `get`, where the spec is not at hand."""
        artifact = self.find_key(stage, dataset, key)
        if artifact is None:
            why = self._problem(stage, dataset, key)
            raise NotInStore(f"{stage}: {dataset} is not in the store {self.location}: {why}")
        return artifact

    def problem(self, spec: Spec) -> str | None:
        """Why the artifact of `spec` must be built; None when it is there and whole."""
        return self._problem(spec.stage, spec.dataset, spec.key)

    def _problem(self, stage: str, dataset: str, key: str) -> str | None:
        folder = self.root / stage / dataset / key
        if not folder.exists():
            older = folder.parent.exists() and any(folder.parent.iterdir())
            return "inputs changed" if older else "never built"
        return broken(folder, deep=False)

    def new_keys(self, stage: str, dataset: str, known: Collection[str]) -> list[str]:
        """Of artifacts, whole or not, that are not among `known`, the oldest first."""
        try:
            with os.scandir(self.root / stage / dataset) as entries:
                new = [each for each in entries if each.name not in known and each.is_dir()]
        except FileNotFoundError:
            return []
        ordered = sorted(new, key=lambda each: (each.stat().st_mtime_ns, each.name))
        return [each.name for each in ordered]

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
        lock = lock_name(self.folder(spec))
        with self._locked(lock, spec.inputs):
            found = self.find(spec)
            if found is not None:
                return found, False
            with self._scratch(lock) as scratch:
                counts = make(scratch)
                seal(scratch, _manifest_of(spec, scratch, counts, environment or {}))
                self._commit(read_manifest(scratch), scratch)
        return self._read(self.folder(spec)), True

    def _commit(self, manifest: Manifest, scratch: Path) -> None:
        """Move what is sealed in `scratch` to its place."""
        final = self.root / manifest.stage / manifest.dataset / manifest.key
        final.parent.mkdir(parents=True, exist_ok=True)
        aside = self._new_scratch(lock_name(final))
        if final.exists():
            final.rename(aside)
        scratch.rename(final)
        sync(final.parent)
        shutil.rmtree(aside, ignore_errors=True)
        with suppress(OSError):  # a file was in its place
            aside.unlink()

    def _new_scratch(self, lock: str) -> Path:
        """Named after the lock that its writer holds, so that one sees whether he lives."""
        path = self.root / ".tmp" / f"{lock}.{uuid.uuid4().hex}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def _scratch(self, lock: str) -> Iterator[Path]:
        path = self._new_scratch(lock)
        path.mkdir()
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def _locked(self, lock: str, inputs: Mapping[str, str]) -> AbstractContextManager[None]:
        """Its file tells of what the artifact is made (see `held`)."""
        return locks.locked(self._locks, lock, inputs)

    def held(self) -> dict[str, dict[str, str] | None]:
        """Locks that processes hold now -> the keys that they need. As locks.held."""
        return locks.held(self._locks)

    def in_use(self) -> AbstractContextManager[Callable[[Collection[str]], None]]:
        """As locks.in_use: around the plan of a flow and its work."""
        return locks.in_use(self._locks)

    def deleting(self) -> AbstractContextManager[None]:
        """As locks.deleting: around what a gc finds and removes."""
        return locks.deleting(self._locks)

    def remove(self, folder: Path, lock: str) -> bool:
        """Delete a folder of the store, at once for whoever looks.

        `lock` is the lock of who writes to it (`lock_name`); False where somebody does. One that
        is gone already is no error.
        """
        with locks.unlocked(self._locks, lock) as free:
            if not free:
                return False
            aside = self._new_scratch(lock)
            with suppress(FileNotFoundError):
                folder.rename(aside)
        if aside.exists():
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


def _manifest_of(
    spec: Spec, folder: Path, counts: Mapping[str, Any], environment: Mapping[str, str]
) -> Manifest:
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    return Manifest(
        stage=spec.stage,
        dataset=spec.dataset,
        key=spec.key,
        version=spec.version,
        params=dict(spec.params),
        inputs=dict(spec.inputs),
        counts=dict(counts),
        files={name: file_entry(folder / name) for name in names},
        environment=dict(environment),
    )
