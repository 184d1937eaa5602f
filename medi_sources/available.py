"""Whether all files that must be fetched are to be had: asked before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from artifacts.errors import InputError
from artifacts.location import HubFiles, Location, WebFiles
from medi_sources import hub
from medi_sources.fetch import at_hand

_ATTEMPTS = 3  # before a host counts as silent for all of its files
_REFUSED = frozenset({401, 403, 404, 410})


def require_available(locations: Iterable[tuple[str, Location]], mirror: Path | None) -> None:
    """Raise InputError naming the first file that neither mirror, cache nor network can give."""
    for dataset, reason in unavailable(locations, mirror):
        raise InputError(f"{dataset}: {reason}")


def unavailable(
    locations: Iterable[tuple[str, Location]], mirror: Path | None
) -> Iterator[tuple[str, str]]:
    """(whose, which file and why) of each file that neither mirror, cache nor network can give.

    For what is not at hand a HEAD request is made, one for all files of a repository at one
    revision, none to a host that has not answered before.
    """
    silent: dict[str, str] = {}
    asked: set[object] = set()
    for dataset, location in locations:
        for file in location.files:
            archive = file.partition("::")[0]
            if at_hand(location, archive, mirror) is not None:
                continue
            url = location.url(archive)
            host = _host(url)
            once = url if isinstance(location, WebFiles) else _place(location)
            if host not in silent and once not in asked:
                asked.add(once)
                status = _ask(url, location, silent)
                if status in _REFUSED:
                    yield dataset, _refused(location, archive, status)
            if host in silent:
                missing = f"{mirror / location.mirror_path(archive)} is missing" if mirror else url
                yield (
                    dataset,
                    f"{missing}, and {host} cannot be reached ({silent[host]}): "
                    "give a mirror folder that has the file (--mirror), or a network",
                )


def _ask(url: str, location: Location, silent: dict[str, str]) -> int | None:
    """The status of a HEAD request; a host that gives none is added to `silent`, with the cause."""
    headers: Mapping[str, str] = {}
    if isinstance(location, HubFiles):
        if hub.offline():
            silent[_host(url)] = "HF_HUB_OFFLINE is set"
            return None
        headers = hub.token_headers()
    for _ in range(_ATTEMPTS):
        try:
            return httpx.head(url, headers=dict(headers), timeout=10.0).status_code
        except httpx.HTTPError as error:
            cause = type(error).__name__
    silent[_host(url)] = cause
    return None


def _host(url: str) -> str:
    """Without the user and password that HF_ENDPOINT may have in front of it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _place(location: Location) -> tuple[str, str]:
    return getattr(location, "repository", ""), getattr(location, "revision", "")


def _refused(location: Location, file: str, status: int | None) -> str:
    if isinstance(location, WebFiles):
        return f"{file} is not there (HTTP {status}): correct location.files of its record"
    repository, revision = _place(location)
    return (
        f"{repository} does not give {file} at revision {revision} (HTTP {status}): correct the "
        "location in its record, or log in where access is restricted (HF_TOKEN)"
    )
