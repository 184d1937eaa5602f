"""A store on object storage. Readers need files, so each machine has a cache of it."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.manifest import MANIFEST, Manifest, read_manifest
from artifacts.remote import Remote
from artifacts.remote_manifest import Damaged, Uploaded, same
from artifacts.remote_trouble import StoreError
from artifacts.sealing import broken, seal
from artifacts.store import Artifact, Make, Store, lock_name

_TRIES = 3
_CONTAINER_AT_ACCOUNT = ("abfs", "abfss", "az")  # what stands before the @ is no secret there
_logger = logging.getLogger(__name__)


class RemoteStore(Store):
    """Artifacts that are in `remote`; the local folder holds those that were needed here.

    What is in the cache and whole is read from there. What counts is the remote: an artifact that
    only the cache has is uploaded when it is asked for.
    """

    remote: Remote

    def __init__(self, remote: Remote, root: Path) -> None:
        super().__init__(root)
        self.remote = remote
        self._damaged: dict[str, str] = {}  # name -> what was wrong with it

    @property
    def location(self) -> str:
        return self.remote.location

    def find_key(self, stage: str, dataset: str, key: str) -> Artifact | None:
        """As Store's; downloaded first, where it is not in the cache. Raises StoreError."""
        found = super().find_key(stage, dataset, key)
        if found is None and self._is_listed(stage, dataset, key):
            self._pull(self.root / stage / dataset / key)
            found = super().find_key(stage, dataset, key)
        return found

    def peek(self, spec: Spec) -> Artifact:
        """As Store's; downloads the manifest alone. Raises StoreError."""
        found = super().find_key(spec.stage, spec.dataset, spec.key)
        folder = self.folder(spec)
        if found is None and self._is_listed(spec.stage, spec.dataset, spec.key):
            try:
                there = self.remote.read(_name(folder))
            except Damaged:
                there = None
            found = Artifact(folder, there.manifest) if there else None
        return found or self.get(spec)

    def _problem(self, stage: str, dataset: str, key: str) -> str | None:
        """By the listing alone: nothing is downloaded."""
        keys = self.remote.keys(stage).get(dataset, set())
        if key in keys:
            return None
        if wrong := self._damaged.get(f"{stage}/{dataset}/{key}"):
            return wrong
        if super()._problem(stage, dataset, key) is None:
            return "not uploaded yet"
        return "inputs changed" if keys else "never built"

    def new_keys(self, stage: str, dataset: str, known: Collection[str]) -> list[str]:
        here = super().new_keys(stage, dataset, known)
        there = self.remote.keys(stage).get(dataset, set())
        return here + sorted(there.difference(known, here))

    def build(
        self, spec: Spec, make: Make, environment: Mapping[str, str] | None = None
    ) -> tuple[Artifact, bool]:
        """As Store's. Two machines may both make it: the first to upload has made it for all."""

        def made_if_storable(folder: Path) -> Mapping[str, object]:
            self.remote.require_writable()
            return make(folder)

        artifact, made = super().build(spec, made_if_storable, environment)
        if made or self._is_listed(spec.stage, spec.dataset, spec.key):
            return artifact, made
        if broken(artifact.folder, deep=True):
            return super().build(spec, made_if_storable, environment)
        there = self._push(artifact.folder, artifact.folder, artifact.manifest)
        if not same(there.manifest, artifact.manifest):
            self._pull(artifact.folder, artifact.manifest)
        return self.get(spec), False

    def verify(self) -> list[tuple[Path, str]]:
        """As Store's, of the cache; a copy that is not what the remote has is none from then on,
        where no flow of this machine runs that may be reading it.
        """
        wrong = super().verify()
        whole = sorted({*self.artifacts()}.difference(path for path, _ in wrong))
        there, in_use = self.remote.read_all([_name(path) for path in whole]), self.held()
        for path in whole:
            here, theirs = _whole(path), there.get(_name(path))
            if here and isinstance(theirs, Uploaded) and not same(here, theirs.manifest):
                if not in_use:
                    with suppress(OSError):  # a cache that may only be read
                        (path / MANIFEST).unlink()
                wrong.append((path, f"is not what {self.location} has"))
        return wrong

    def _is_listed(self, stage: str, dataset: str, key: str) -> bool:
        return key in self.remote.keys(stage).get(dataset, ())

    def _commit(self, manifest: Manifest, scratch: Path) -> None:
        """Upload, then move to its place; where another was first, with other bytes, take his."""
        folder = self.root / manifest.stage / manifest.dataset / manifest.key
        for _ in range(_TRIES):
            there = self._push(folder, scratch, manifest)
            if same(there.manifest, manifest):
                self._place(folder, manifest, scratch)
                return
            if self._pull_one(folder, there, lock_name(folder)):
                return
        raise StoreError(f"store {self.location}: {_name(folder)} is broken again and again")

    def _push(self, folder: Path, source: Path, manifest: Manifest) -> Uploaded:
        """What is there then. A manifest that is broken gives way."""
        name = _name(folder)
        for _ in range(_TRIES):
            try:
                return self.remote.push(name, source, manifest)
            except Damaged as error:
                self._condemn(name, None, error)
        raise StoreError(f"store {self.location}: {name} is broken again and again")

    def _pull(self, folder: Path, stale: Manifest | None = None) -> None:
        """Into the cache; what turns out to be broken is none from then on.

        `stale`: of the copy there that is to give way.
        """
        name, lock = _name(folder), f"pull-{lock_name(folder)}"
        with self._locked(lock, {}):
            for _ in range(_TRIES):
                if _whole(folder) not in (None, stale):  # another was here
                    return
                try:
                    there = self.remote.read(name)
                except Damaged as error:
                    self._condemn(name, None, error)
                    return
                if there is None or self._pull_one(folder, there, lock, stale):
                    return

    def _pull_one(
        self, folder: Path, there: Uploaded, lock: str, stale: Manifest | None = None
    ) -> bool:
        name = _name(folder)
        with self._scratch(lock) as scratch:
            try:
                self.remote.pull(name, there, scratch)
            except Damaged as error:
                self._condemn(name, there.attempt, error)
                return False
            seal(scratch, there.manifest)
            self._place(folder, there.manifest, scratch, stale)
            return True

    def _place(
        self, folder: Path, manifest: Manifest, scratch: Path, stale: Manifest | None = None
    ) -> None:
        """Move to its place, unless another command of this machine has put a whole one there.

        One who builds and one who downloads hold different locks.
        """
        with self._locked("place", {}):
            if _whole(folder) in (None, stale):
                super()._commit(manifest, scratch)

    def _condemn(self, name: str, attempt: str | None, error: Damaged) -> None:
        _logger.warning("%s/%s: %s: it must be made again", self.location, name, error)
        self._damaged[name] = str(error)
        self.remote.discard(name, attempt)


def _name(folder: Path) -> str:
    return "/".join(folder.parts[-3:])


def _whole(folder: Path) -> Manifest | None:
    """The manifest of what lies there, where that is whole."""
    with suppress(FileNotFoundError, ValueError):  # it goes at this moment
        return None if broken(folder, deep=False) else read_manifest(folder)
    return None


def open_remote(location: str) -> RemoteStore:
    """Raises InputError where nothing can be listed there, for whatever reason."""
    _require_known(location)
    remote = Remote(location)
    try:
        remote.ping()
    except StoreError as error:
        raise InputError(str(error)) from None
    except ValueError as error:  # what the libraries say of settings, an endpoint above all
        what = f"{type(error).__name__} from its library: check the endpoint and the credentials"
        raise InputError(f"store {remote.location}: {what}") from None
    root = _cache_of(remote.location)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"MEDI_STORE_CACHE: {root} cannot be made: {error.strerror}") from None
    return RemoteStore(remote, root)


def _require_known(location: str) -> None:
    import fsspec

    scheme, _, rest = location.partition("://")
    user, at, _ = rest.rpartition("@")  # a secret may have a slash in it
    if at and (":" in user or scheme not in _CONTAINER_AT_ACCOUNT):
        raise InputError(
            f"store {scheme}://...: no credentials in an address: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or name a profile; a prefix has no '@'"
        )
    if scheme in ("file", "local") or "::" in scheme:
        raise InputError(f"store {location}: give the folder itself, or s3://bucket/prefix")
    if not rest.strip("/"):
        raise InputError(f"store {location}: names no bucket: give s3://bucket/prefix")
    try:
        fsspec.get_filesystem_class(scheme)
    except ImportError as error:
        hint = (
            "pip install -c constraints.txt -e '.[s3]'" if scheme in ("s3", "s3a") else str(error)
        )
        raise InputError(f"store {location}: {scheme}:// is not installed: {hint}") from None
    except ValueError:
        raise InputError(
            f"store {location}: unknown kind of store {scheme!r}: give a folder or s3://bucket/prefix"
        ) from None


def _cache_of(location: str) -> Path:
    chosen = os.environ.get("MEDI_STORE_CACHE")
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medi"
    folder = Path(chosen).expanduser().absolute() if chosen else users
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", location)
    return folder / f"{readable}-{hashlib.sha256(location.encode()).hexdigest()[:8]}"
