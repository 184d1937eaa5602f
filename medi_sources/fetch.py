"""Files of a location onto disk: from the mirror, else the Hub's cache, else the network.

A file that arrives short or broken is an error, never a file. Retrying is the caller's.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from artifacts.errors import DatasetError, InputError
from artifacts.location import HubFiles, Location

VERSION = 1
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)


class FetchError(RuntimeError):
    """The network did not give a file this time; trying again may help."""


def local_names(location: Location) -> list[str]:
    """File names inside a fetch artifact, in the order of `location.files`."""
    return [f"{i:03d}-{_member(f).rsplit('/', 1)[-1]}" for i, f in enumerate(location.files)]


def fetch(location: Location, folder: Path, mirror: Path | None) -> None:
    """Write the files of `location` into `folder` under `local_names`.

    Raises FetchError for network trouble, DatasetError for an archive without the member.
    """
    for file, name in zip(location.files, local_names(location), strict=True):
        archive, _, member = file.partition("::")
        source = _at_hand(location, archive, mirror)
        partial = folder / f".{name}.part"
        if source is None:
            _download(location.url(archive), partial)
            source = partial
        _place(source, member, folder / name)
        partial.unlink(missing_ok=True)


def require_available(locations: Iterable[tuple[str, Location]], mirror: Path | None) -> None:
    """Raise InputError naming the first file that neither mirror, cache nor network can give.

    Before any work: one request a host, and only for hosts of files that are not at hand.
    """
    reachable: dict[str, str | None] = {}
    for dataset, location in locations:
        for file in location.files:
            archive = file.partition("::")[0]
            if _at_hand(location, archive, mirror, ask_hub=False) is not None:
                continue
            url = location.url(archive)
            host = urlsplit(url).netloc
            if host not in reachable:
                reachable[host] = _why_unreachable(host)
            if reachable[host]:
                missing = f"{mirror / location.mirror_path(archive)} is missing" if mirror else url
                raise InputError(
                    f"{dataset}: {missing}, and {host} cannot be reached ({reachable[host]}): "
                    "give a mirror folder that has the file (--mirror), or a network"
                )


def _member(file: str) -> str:
    archive, _, member = file.partition("::")
    return member or archive


def _at_hand(
    location: Location, archive: str, mirror: Path | None, *, ask_hub: bool = True
) -> Path | None:
    if mirror is not None:
        mirrored = mirror / location.mirror_path(archive)
        if mirrored.is_file():
            return mirrored
    return _from_hub(location, archive, ask_hub=ask_hub) if isinstance(location, HubFiles) else None


def _from_hub(location: HubFiles, file: str, *, ask_hub: bool) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    repository, revision = location.repository, location.revision
    cached = try_to_load_from_cache(repository, file, revision=revision, repo_type="dataset")
    if isinstance(cached, str):
        return Path(cached)
    if not ask_hub:
        return None
    try:
        return Path(hf_hub_download(repository, file, revision=revision, repo_type="dataset"))
    except Exception as error:  # the Hub client raises many kinds; all mean: not this time
        raise FetchError(f"{location.url(file)}: {type(error).__name__}: {error}") from error


def _why_unreachable(host: str) -> str | None:
    try:
        httpx.head(f"https://{host}/", timeout=10.0)
    except httpx.HTTPError as error:
        return type(error).__name__
    return None


def _download(url: str, target: Path) -> None:
    """Stream `url` into `target`; a body shorter than announced is an error."""
    try:
        with (
            httpx.stream(
                "GET",
                url,
                headers={"accept-encoding": "identity"},  # the length announced is the file's
                timeout=_TIMEOUT,
                follow_redirects=True,
            ) as response,
            target.open("wb") as out,
        ):
            response.raise_for_status()
            for chunk in response.iter_raw():
                out.write(chunk)
            announced = response.headers.get("content-length")
    except httpx.HTTPError as error:
        raise FetchError(f"{url}: {type(error).__name__}: {error}") from error
    if announced is not None and int(announced) != target.stat().st_size:
        raise FetchError(f"{url}: {target.stat().st_size} bytes instead of {announced}")


def _place(source: Path, member: str, target: Path) -> None:
    if not member:
        shutil.copyfile(source, target)
        return
    try:
        with (
            zipfile.ZipFile(source) as archive,
            archive.open(member) as packed,
            target.open("wb") as out,
        ):
            shutil.copyfileobj(packed, out)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{source.name}: no readable member {member!r} ({error})") from error
