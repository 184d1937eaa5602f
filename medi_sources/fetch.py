"""Files of a location onto disk: from the mirror, else the Hub's cache, else the network.

A file that arrives short, broken or changed is an error, never a file.
"""

from __future__ import annotations

import gzip
import io
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from artifacts.errors import DatasetError, InputError
from artifacts.keys import sha256_file
from artifacts.location import GitHubFiles, HubFiles, LocalFiles, Location
from artifacts.unpacked import open_gzip, open_member
from medi_sources import hub
from medi_sources.download import FetchError as FetchError
from medi_sources.download import RefusedError, Remote, download
from medi_sources.download import within as within
from medi_sources.window import ChunkReader, Window, copy_window

VERSION = 1


def local_names(location: Location) -> list[str]:
    """File names inside a fetch artifact, in the order of `location.files`."""
    return [f"{i:03d}-{_member(f).rsplit('/', 1)[-1]}" for i, f in enumerate(location.files)]


def fetch(
    location: Location, folder: Path, mirror: Path | None, window: Window | None = None
) -> None:
    """Write the files of `location` into `folder` under `local_names`.

    With a window, which is for a location of one file of lines, the file written has the window's
    lines alone, and neither disk nor network see more than the lines up to its end.

    Raises FetchError for network trouble that does not pass; InputError where a repository does
    not have the file at its revision, or not for this user; DatasetError where the file is not
    what it should be: not whole, not of its sha256, no archive with the member.
    """
    if window is not None and (len(location.files) > 1 or "::" in location.files[0]):
        raise ValueError(f"a window is of one file of lines, not of {location.files}")
    pins = location.sha256 or (None,) * len(location.files)
    for file, name, pin in zip(location.files, local_names(location), pins, strict=True):
        archive = file.partition("::")[0]
        made, scratch = folder / f".{name}.made", folder / f".{name}.part"
        try:
            if window is None:
                _place(_whole(location, archive, mirror, scratch), file, made)
                _require_pin(location.url(file), pin, sha256_file(made) if pin else None)
            else:
                _cut(location, window, pin, mirror, made)
            made.replace(folder / name)
        except RefusedError as error:
            if isinstance(location, HubFiles | GitHubFiles) and error.status is not None:
                raise InputError(_not_given(location, archive, error)) from error
            raise
        finally:
            made.unlink(missing_ok=True)
            scratch.unlink(missing_ok=True)


def _member(file: str) -> str:
    archive, _, member = file.partition("::")
    return member or archive


def _on_disk(location: Location, archive: str, mirror: Path | None) -> Path | None:
    """The file in the mirror or in the user's own folder."""
    if isinstance(location, LocalFiles):
        return location.folder / archive
    path = mirror / location.mirror_path(archive) if mirror is not None else None
    return path if path is not None and path.is_file() else None


def at_hand(location: Location, archive: str, mirror: Path | None) -> Path | None:
    """The file in the mirror, the user's own folder or the Hub's cache; asks nobody."""
    found = _on_disk(location, archive, mirror)
    if found is None and isinstance(location, HubFiles):
        return hub.cached(location, archive)
    return found


def _whole(location: Location, archive: str, mirror: Path | None, scratch: Path) -> Path:
    """The whole file, on disk already, in the Hub's cache, or downloaded to `scratch`."""
    found = _on_disk(location, archive, mirror)
    if found is not None:
        return found
    if isinstance(location, HubFiles):
        path = hub.from_hub(location, archive)
    else:
        path = scratch
        download(location.url(archive), path)
    _require_whole(path, location.url(archive))
    return path


def _require_whole(path: Path, url: str) -> None:
    """Raise DatasetError for a .gz that does not unpack to its end, a .zip without directory."""
    try:
        if url.endswith(".gz"):
            with open_gzip(path) as file:
                while file.read(1 << 20):
                    pass
        elif url.endswith(".zip"):
            zipfile.ZipFile(path).close()
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise DatasetError(f"{url}: is broken where it lies upstream ({error})") from error


def _cut(
    location: Location, window: Window, pin: str | None, mirror: Path | None, target: Path
) -> None:
    """Write the window of the location's one file, from what is at hand or the open network."""
    file = location.files[0]
    found, url = at_hand(location, file, mirror), location.url(file)
    if found is not None:
        _require_pin(url, pin, sha256_file(found) if pin else None)
        with found.open("rb") as source:
            copy_window(source, target, window, file)
        return
    headers: dict[str, str] = {}
    stated = None
    if isinstance(location, HubFiles):
        headers = hub.token_headers()
        stated = hub.stated_sha256(location, file) if pin else None
    _require_pin(url, pin, stated)

    def copy(chunks: Iterator[bytes]) -> None:
        with io.BufferedReader(ChunkReader(chunks)) as source:
            copy_window(source, target, window, file)

    Remote(url, headers).read(copy)


def _require_pin(url: str, pin: str | None, found: str | None) -> None:
    if pin and found is None:
        raise InputError(
            f"{url}: sha256 {pin} cannot be checked on a window of the file: take the pin out of "
            "the record, or put the whole file into a mirror folder (--mirror)"
        )
    if found != pin:
        raise DatasetError(
            f"{url}: changed under a pinned revision: expected sha256 {pin}, found {found}"
        )


def _not_given(location: HubFiles | GitHubFiles, file: str, error: RefusedError) -> str:
    return (
        f"{file}: {location.repository} does not give it at revision {location.revision} "
        f"({error}): correct the record, log in where access is restricted (HF_TOKEN), or put "
        "the file into a mirror folder (--mirror)"
    )


def _place(source: Path, file: str, target: Path) -> None:
    """Put `source`, or its member that `file` names, at `target`."""
    archive, _, member = file.partition("::")
    if not member:
        if source.parent == target.parent:  # downloaded just now
            source.replace(target)
        else:
            shutil.copyfile(source, target)
        return
    try:
        with (
            zipfile.ZipFile(source) as packed,
            open_member(packed, member, archive) as content,
            target.open("wb") as out,
        ):
            shutil.copyfileobj(content, out)
    except (KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DatasetError(f"{archive}: no readable member {member!r} ({error})") from error
