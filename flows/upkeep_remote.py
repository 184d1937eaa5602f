"""`medi verify` and `medi gc` of a store on object storage, beside its cache on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from artifacts.remote import Remote
from artifacts.remote_contents import Contents, Upload, contents_of, verify
from artifacts.remote_manifest import Uploaded
from flows.garbage import judge
from flows.wanted import Wanted

_DAY_S = 86_400


@dataclass(frozen=True)
class RemoteItem:
    """An upload that goes; `artifact`: its manifest names it, and goes first."""

    upload: Upload
    why: str
    artifact: bool

    @property
    def name(self) -> str:
        return self.upload.name if self.artifact else f"{self.upload.name}/{self.upload.attempt}"


@dataclass(frozen=True)
class RemoteGarbage:
    """`unjudged`: (stage, why, bytes) of what stays."""

    goes: list[RemoteItem]
    unjudged: list[tuple[str, str, int]]


def verify_remote(remote: Remote) -> int:
    """Print what is broken and what is left over; how many artifacts are broken."""
    contents = contents_of(remote)
    broken = 0
    for name, why in verify(remote, contents):
        print(f"{remote.location}/{name}: {why}: it is no artifact any more", flush=True)
        broken += 1
    left = [f"{each.name}/{each.attempt}: {_told(each)}" for each in contents.unnamed]
    left += [f"{path}: no part of its artifact" for path in contents.extra]
    left += [f"{path}: no part of a store" for path in contents.strays]
    for line in left:
        print(f"{remote.location}/{line}")
    print(f"{broken} broken artifacts, {len(left)} left over in {remote.location}")
    return broken


def _told(upload: Upload) -> str:
    if _is_old(upload, 1.0):
        return "half uploaded by a run that was killed, or of an artifact that was broken"
    return "no manifest names it, it may be an upload that goes on"


def find_remote_garbage(
    remote: Remote, wanted: Wanted, held: Mapping[str, Mapping[str, str]], days: float
) -> RemoteGarbage:
    """What may go. Uploads that no manifest names stay for a day, whatever `days` says."""
    contents = contents_of(remote)
    manifests = {
        name: found.manifest if isinstance(found, Uploaded) else None
        for name, found in contents.artifacts.items()
    }
    judged = judge(manifests, wanted, held)
    old = time.time() - days * _DAY_S
    goes = [
        RemoteItem(_upload(contents, name, found), judged[name][0], True)
        for name, found in contents.artifacts.items()
        if judged[name][1] and contents.changed[name] <= old and isinstance(found, Uploaded)
    ]
    goes += [
        RemoteItem(upload, "no manifest names it", False)
        for upload in contents.unnamed
        if _is_old(upload, max(days, 1.0))
    ]
    unjudged = [
        (name.partition("/")[0], why, _upload(contents, name, found).size)
        for name, found in contents.artifacts.items()
        for why, may_go in [judged[name]]
        if why and not may_go and isinstance(found, Uploaded)
    ]
    return RemoteGarbage(goes, unjudged)


def delete_remote(remote: Remote, item: RemoteItem) -> bool:
    """The manifest first; False where it was replaced in the meantime."""
    upload = item.upload
    if item.artifact and not remote.discard(upload.name, upload.attempt):
        return False
    remote.delete(upload.paths)
    return True


def _upload(contents: Contents, name: str, found: Uploaded) -> Upload:
    """Of an artifact; one of no files has none."""
    nothing = Upload(name, found.attempt, (), 0, contents.changed[name])
    return contents.uploads.get((name, found.attempt), nothing)


def _is_old(upload: Upload, days: float) -> bool:
    return upload.changed <= time.time() - days * _DAY_S
