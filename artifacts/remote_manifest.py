"""Manifests on object storage: each names the attempt below which the files of its artifact lie."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from artifacts.keys import canonical_json
from artifacts.manifest import MANIFEST, FileEntry, Manifest, OtherVersion, parse_manifest
from artifacts.remote_trouble import StoreError

_ATTEMPT = re.compile(r"[0-9a-f]{32}")


class Damaged(ValueError):
    """A file or a manifest in the store is not what was put there."""


@dataclass(frozen=True)
class Uploaded:
    """A manifest, and the attempt below which its files lie."""

    attempt: str
    manifest: Manifest


def path_of(name: str, attempt: str, file: str) -> str:
    """Below the root."""
    return f"files/{name}/{attempt}/{file}"


def difference(file: str, entry: FileEntry, found: FileEntry) -> str | None:
    """What is wrong with a file of which the manifest says `entry`."""
    if found.size != entry.size:
        return f"{file} has {found.size} bytes instead of {entry.size}"
    return None if found == entry else f"{file} has changed"


def same(one: Manifest, other: Manifest) -> bool:
    """Of the same bytes: only those of old have no checksum of their own."""
    return one.model_copy(update={"checksum": other.checksum}) == other


def written(attempt: str, content: Any) -> bytes:
    """A manifest of the store; `content` is what the artifact's own holds."""
    return (canonical_json({"attempt": attempt, "manifest": content}) + "\n").encode()


def parse(location: str, name: str, content: bytes) -> Uploaded:
    """A manifest of the store.

    Raises Damaged for one that has changed, or is another's; StoreError for one that is whole and
    has fields which this version does not know.
    """
    try:
        record = json.loads(content)
        attempt, fields = record["attempt"], record["manifest"]
        manifest = parse_manifest((canonical_json(fields) + "\n").encode())
    except OtherVersion as error:
        raise StoreError(f"store {location}: {name}: {error}: use that version") from None
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"{MANIFEST} has changed") from error
    if not isinstance(attempt, str) or not _ATTEMPT.fullmatch(attempt):
        raise Damaged(f"{MANIFEST} has changed")
    theirs = f"{manifest.stage}/{manifest.dataset}/{manifest.key}"
    if theirs != name:
        raise Damaged(f"{MANIFEST} is that of {theirs}")
    return Uploaded(attempt, manifest)
