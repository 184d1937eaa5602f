"""An artifact's folder when it is written, and when it is looked at again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from artifacts.keys import sha256_file
from artifacts.manifest import MANIFEST, Manifest, read_manifest, write_manifest

_SEALED_NS = 946_684_800 * 10**9  # 2000-01-01: "unchanged since it was committed"


def seal(folder: Path, manifest: Manifest) -> None:
    """Its files are as the manifest says, written to the disk, and a later change will show."""
    for name in manifest.files:
        os.utime(folder / name, ns=(_SEALED_NS, _SEALED_NS))
    write_manifest(manifest, folder)
    for name in [*manifest.files, MANIFEST]:
        sync(folder / name)


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


def sync(path: Path) -> None:
    """What was written to a file, or renamed in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
