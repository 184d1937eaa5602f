"""An artifact's folder when it is written, and when it is looked at again."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from artifacts.keys import sha256_file
from artifacts.manifest import MANIFEST, FileEntry, Manifest, read_manifest, write_manifest

# Of a file that is not there, or that no further try will read: bad sectors, a damaged file system.
_DAMAGE = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO, errno.EBADMSG, errno.EUCLEAN,
}  # fmt: skip
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

    Raises OSError where it cannot be told: for want of a permission, say, or of file descriptors.
    """
    try:
        manifest = read_manifest(folder)
    except OSError as error:
        return f"{MANIFEST} {_damage(error)}"
    except ValueError as error:
        return str(error)
    if (manifest.stage, manifest.dataset, manifest.key) != folder.parts[-3:]:
        return f"manifest.json is that of {manifest.stage}/{manifest.dataset}/{manifest.key}"
    for name, entry in manifest.files.items():
        try:
            wrong = _broken_file(folder / name, entry, deep)
        except OSError as error:
            wrong = _damage(error)
        if wrong:
            with suppress(OSError):  # a store that may only be read
                os.utime(folder / name)
            return f"{name} {wrong}"
    return None


def _broken_file(path: Path, entry: FileEntry, deep: bool) -> str | None:
    stat = path.stat()
    if stat.st_size != entry.size:
        return f"has {stat.st_size} bytes instead of {entry.size}"
    touched = stat.st_mtime_ns != _SEALED_NS
    if (deep or touched) and sha256_file(path) != entry.sha256:
        return "has changed"
    if touched:
        with suppress(OSError):
            os.utime(path, ns=(_SEALED_NS, _SEALED_NS))
    return None


def _damage(error: OSError) -> str:
    if error.errno not in _DAMAGE:
        raise error
    return "is missing" if error.errno == errno.ENOENT else f"cannot be read ({error.strerror})"


def unnamed(folder: Path) -> list[Path]:
    """Files of an artifact that its manifest does not name; none where that cannot be read."""
    try:
        named = {folder / name for name in (MANIFEST, *read_manifest(folder).files)}
        found = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
    except (OSError, ValueError):
        return []
    return sorted(set(found) - named)


def sync(path: Path) -> None:
    """What was written to a file, or renamed in a folder, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
