"""manifest.json of an artifact: what it is made of, and the sha256 of each of its files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from artifacts.keys import canonical_json, sha256_file

MANIFEST = "manifest.json"
_CHECKSUM = b'{"checksum":"'


def _below(name: str) -> str:
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a file below its folder")
    return name


# Of a file of an artifact: a path below its folder. A manifest may have been written by anyone.
FileName = Annotated[str, AfterValidator(_below)]


class OtherVersion(ValueError):
    """A manifest whose checksum is right, with fields that this version does not know."""


class FileEntry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size: int
    sha256: str


class Manifest(BaseModel):
    """The same inputs give the same bytes: no times, no hosts.

    `checksum` is the first field of the file, the sha256 of its other fields as a JSON object: no
    count and no hash can change unseen. Manifests of old have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    checksum: str = ""
    stage: str
    dataset: str
    key: str
    version: int
    params: dict[str, Any]
    inputs: dict[str, str]
    counts: dict[str, Any]
    files: dict[FileName, FileEntry]
    environment: dict[str, str]


def write_manifest(manifest: Manifest, folder: Path) -> None:
    body = canonical_json(manifest.model_dump(exclude={"checksum"})) + "\n"
    (folder / MANIFEST).write_bytes(_with_checksum(body.encode()))


def read_manifest(folder: Path) -> Manifest:
    """Raises FileNotFoundError where there is none, ValueError for one that has changed."""
    return parse_manifest((folder / MANIFEST).read_bytes())


def parse_manifest(content: bytes) -> Manifest:
    """Raises ValueError for one that has changed; OtherVersion, which is one, see there."""
    checked = content.startswith(_CHECKSUM)
    if checked:
        _, _, rest = content.partition(b",")
        if content != _with_checksum(b"{" + rest):
            raise ValueError(f"{MANIFEST} has changed")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        if checked and all(fault["type"] == "extra_forbidden" for fault in error.errors()):
            raise OtherVersion(f"{MANIFEST} is that of another version of medi") from error
        raise ValueError(f"{MANIFEST} cannot be read") from error


def file_entry(path: Path) -> FileEntry:
    return FileEntry(size=path.stat().st_size, sha256=sha256_file(path))


def _with_checksum(body: bytes) -> bytes:
    return _CHECKSUM + hashlib.sha256(body).hexdigest().encode() + b'",' + body[1:]
