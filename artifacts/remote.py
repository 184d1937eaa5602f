"""Artifacts on object storage, through fsspec.

    <root>/manifests/<stage>/<dataset>/<key>.json         {"attempt": ..., "manifest": {...}}
    <root>/files/<stage>/<dataset>/<key>/<attempt>/...    its files, under their own names

There an object appears whole or not at all, but nothing renames a folder. So each upload writes
below a name of its own, the attempt, and its manifest is put last, on condition that there is none
yet: no manifest, no artifact. docs/object-storage.md argues why nothing can be lost.
"""

from __future__ import annotations

import errno
import hashlib
import json
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from artifacts.manifest import MANIFEST, FileEntry, Manifest, file_entry
from artifacts.remote_manifest import Damaged, Uploaded, difference, parse, path_of, written
from artifacts.remote_trouble import StoreError, code_of, told

_ANSWER_S = 60.0  # for a first answer
_LISTED_S = 30.0  # how old a listing may be
_FILES_AT_ONCE = 4  # of one artifact; of each up to 100 MB are held in memory
_KEY = re.compile(r"[0-9a-f]{24}")  # Spec.key
_MARKER, _LAYOUT = "medi-store.json", b'{"layout":1}\n'
_EXISTS = ("PreconditionFailed", "ConditionalRequestConflict", "412")  # codes of S3
_TRIES = 3
_CHUNK = 8 << 20


class Remote:
    """One location. Artifacts go by their name, `<stage>/<dataset>/<key>`."""

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        self._listings: dict[str, tuple[float, dict[str, set[str]]]] = {}
        self._writable = False

    def __reduce__(self) -> tuple[type[Remote], tuple[str]]:
        return Remote, (self.location,)  # connections stay where they are

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        import fsspec

        with told(self.location):
            fs, root = fsspec.core.url_to_fs(self.location, use_listings_cache=False)
        return fs, str(root).rstrip("/")

    @property
    def fs(self) -> Any:
        """The fsspec file system."""
        return self._opened[0]

    @property
    def root(self) -> str:
        return self._opened[1]

    def keys(self, stage: str) -> Mapping[str, set[str]]:
        """Dataset -> keys of its artifacts, from a listing that is at most half a minute old."""
        at, found = self._listings.get(stage, (-_LISTED_S, {}))
        if time.monotonic() - at >= _LISTED_S:
            found = defaultdict(set)
            for name in self.find(f"manifests/{stage}"):
                parts = name.removesuffix(".json").split("/")
                if len(parts) == 4 and _KEY.fullmatch(parts[3]):
                    found[parts[2]].add(parts[3])
            self._listings[stage] = (time.monotonic(), found)
        return found

    def ping(self) -> None:
        """Raises StoreError where nothing can be listed, no answer comes, or the layout is new."""
        if getattr(self.fs, "async_impl", False):
            from fsspec.asyn import sync

            with suppress(FileNotFoundError), told(self.location):  # some say so of an empty folder
                where = f"{self.root}/manifests/publish"
                sync(self.fs.loop, self.fs._find, where, timeout=_ANSWER_S)
        else:
            self.keys("publish")
        with suppress(FileNotFoundError), told(self.location):
            if self.fs.cat_file(f"{self.root}/{_MARKER}") != _LAYOUT:
                raise StoreError(
                    f"store {self.location}: {_MARKER} tells of a layout that this version does "
                    "not know: use the version that wrote it"
                )

    def _note(self, name: str, there: bool) -> None:
        stage, dataset, key = name.split("/")
        if stage in self._listings:
            keys = self._listings[stage][1].setdefault(dataset, set())
            (keys.add if there else keys.discard)(key)

    def find(self, folder: str) -> dict[str, dict[str, Any]]:
        """Path below the root -> what is known of the object."""
        found: dict[str, dict[str, Any]] = {}
        with suppress(FileNotFoundError), told(self.location):  # some say so of an empty folder
            found = self.fs.find(f"{self.root}/{folder}", detail=True)
        return {path.removeprefix(self.root + "/"): info for path, info in found.items()}

    def read(self, name: str) -> Uploaded | None:
        """Raises Damaged for a manifest that has changed."""
        with told(self.location):
            try:
                content = self.fs.cat_file(self._manifest(name))
            except FileNotFoundError:
                self._note(name, False)
                return None
        return parse(self.location, name, content)

    def read_all(self, names: Sequence[str]) -> dict[str, Uploaded | Damaged]:
        """Of those that are there."""
        paths = [self._manifest(name) for name in names]
        found: dict[str, Uploaded | Damaged] = {}
        with told(self.location):
            contents = self.fs.cat(paths, on_error="return") if paths else {}
            for name, path in zip(names, paths, strict=True):
                content = contents[path]  # never taken for absent: gc would delete its files
                if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                    raise content
                if isinstance(content, bytes):
                    try:
                        found[name] = parse(self.location, name, content)
                    except Damaged as error:
                        found[name] = error
        return found

    def require_writable(self) -> None:
        """Raises StoreError before work is done that could not be stored."""
        if not self._writable:
            with told(self.location), suppress(FileExistsError):
                self._create(f"{self.root}/{_MARKER}", _LAYOUT)
            self._writable = True

    def push(self, name: str, folder: Path, manifest: Manifest) -> Uploaded:
        """Put the artifact in `folder`; what there is of that name then, ours or another's."""
        content = json.loads((folder / MANIFEST).read_bytes())
        ours = Uploaded(uuid.uuid4().hex, manifest)
        files = list(manifest.files)
        paths = [f"{self.root}/{path_of(name, ours.attempt, file)}" for file in files]
        with told(self.location):
            if files:
                local = [str(folder / file) for file in files]
                self.fs.put(local, paths, batch_size=_FILES_AT_ONCE)
        record = written(ours.attempt, content)
        there = self._announce(name, record) or ours
        if there.attempt != ours.attempt:
            with suppress(OSError):  # gc finds them
                self._delete(paths)
        self._note(name, True)
        return there

    def _announce(self, name: str, record: bytes) -> Uploaded | None:
        """Put a manifest; the one that was there first, if any.

        A put that failed may have been done all the same, so what is there is read.
        """
        for left in reversed(range(_TRIES)):
            try:
                with told(self.location):
                    self._create(self._manifest(name), record)
                return None
            except (FileExistsError, StoreError) as error:
                there = self.read(name)
                if there is not None:
                    return there
                if not left and isinstance(error, StoreError):
                    raise
        raise StoreError(f"store {self.location}: the manifest of {name} cannot be put")

    def _create(self, path: str, content: bytes) -> None:
        """FileExistsError where there is one, in stores that can say so; else put over it."""
        try:
            self.fs.pipe_file(path, content, mode="create")
        except (NotImplementedError, OSError) as error:
            if code_of(error) in _EXISTS:  # some say no more than that
                raise FileExistsError(errno.EEXIST, "there is one", path) from error
            if isinstance(error, OSError) and error.errno != errno.ENOSYS:
                raise
            self.fs.pipe_file(path, content)

    def pull(self, name: str, uploaded: Uploaded, folder: Path) -> None:
        """Download the files into `folder`, each checked; one that is wrong is asked for twice.

        Raises Damaged.
        """
        wrong = dict.fromkeys(uploaded.manifest.files, "")
        for parent in {(folder / file).parent for file in wrong}:
            parent.mkdir(parents=True, exist_ok=True)
        for _ in range(2):
            wrong = self._pull_some(name, uploaded, list(wrong), folder)
            if not wrong:
                return
        raise Damaged(next(iter(wrong.values())))

    def _pull_some(
        self, name: str, uploaded: Uploaded, files: Sequence[str], folder: Path
    ) -> dict[str, str]:
        """File -> what is wrong with it."""

        def one(file: str) -> str | None:
            path = f"{self.root}/{path_of(name, uploaded.attempt, file)}"
            with told(self.location):
                try:
                    self.fs.get([path], [str(folder / file)])
                except FileNotFoundError:
                    return f"{file} is missing"
            return difference(file, uploaded.manifest.files[file], file_entry(folder / file))

        with ThreadPoolExecutor(_FILES_AT_ONCE) as pool:
            checked = zip(files, pool.map(one, files), strict=True)
            return {file: why for file, why in checked if why}

    def fingerprint(self, path: str) -> FileEntry:
        """Size and hash of an object by its path below the root, read piece by piece."""
        digest, size = hashlib.sha256(), 0
        with told(self.location), self.fs.open(f"{self.root}/{path}", "rb", block_size=_CHUNK) as f:
            while piece := f.read(_CHUNK):
                digest.update(piece)
                size += len(piece)
        return FileEntry(size=size, sha256=digest.hexdigest())

    def discard(self, name: str, attempt: str | None) -> bool:
        """Remove a manifest, so that there is no artifact; False where it was replaced meanwhile.

        `attempt`: the one that it names, None where it is broken itself. No manifest names the
        files then.
        """
        try:
            there = self.read(name)
        except Damaged:
            if attempt is not None:
                return False
        else:
            if there is None or there.attempt != attempt:
                return False
        with suppress(FileNotFoundError):
            self._delete([self._manifest(name)])
        self._note(name, False)
        return True

    def delete(self, paths: Sequence[str]) -> None:
        """Objects by their paths below the root."""
        self._delete([f"{self.root}/{path}" for path in paths])

    def _delete(self, paths: Sequence[str]) -> None:
        with told(self.location):
            for path in paths:
                self.fs.rm_file(path)

    def _manifest(self, name: str) -> str:
        return f"{self.root}/manifests/{name}.json"
