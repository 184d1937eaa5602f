"""Files of Hub dataset repositories through huggingface_hub: its cache, token and endpoint."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from artifacts.keys import sha256_file
from artifacts.location import HubFiles
from medi_sources.download import FetchError, Patience, RefusedError, may_pass, words

T = TypeVar("T")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def cached(location: HubFiles, file: str) -> Path | None:
    """The file in the Hub's cache; asks nobody."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        location.repository, file, revision=location.revision, repo_type="dataset"
    )
    return Path(found) if isinstance(found, str) else None


def offline() -> bool:
    """Whether the user has forbidden requests to the Hub (HF_HUB_OFFLINE)."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    return bool(HF_HUB_OFFLINE)


def from_hub(location: HubFiles, file: str) -> Path:
    """The file in the Hub's cache, downloaded if need be; of the SHA-256 that the Hub states.

    Raises FetchError for network trouble that does not pass, and RefusedError where the Hub has
    no such file, revision or repository for this user.
    """
    from huggingface_hub import hf_hub_download

    patience = Patience(location.url(file))
    while True:
        path = cached(location, file) or Path(
            _asked(
                lambda: hf_hub_download(
                    location.repository, file, revision=location.revision, repo_type="dataset"
                ),
                location.url(file),
                patience,
            )
        )
        # The cache keeps a large file under its ETag, which is its SHA-256.
        stated = path.readlink().name if path.is_symlink() else ""
        if not _SHA256.fullmatch(stated) or sha256_file(path) == stated:
            return path
        for broken in (path.resolve(), path):
            broken.unlink(missing_ok=True)
        patience.fail(f"not the content of SHA-256 {stated} that the Hub states")


def stated_sha256(location: HubFiles, file: str) -> str | None:
    """The SHA-256 that the Hub states of a large file; None of a small one. Raises as from_hub."""
    from huggingface_hub import get_hf_file_metadata

    url = location.url(file)
    etag = _asked(lambda: get_hf_file_metadata(url).etag, url, Patience(url))
    return etag if etag and _SHA256.fullmatch(etag) else None


def token_headers() -> dict[str, str]:
    """For a request to the Hub; empty where the user is not logged in."""
    from huggingface_hub import get_token

    token = get_token()
    return {"authorization": f"Bearer {token}"} if token else {}


def _asked(call: Callable[[], T], url: str, patience: Patience) -> T:
    """What `call` gives, tried again where that can help."""
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    while True:
        try:
            return call()
        except Exception as error:  # the Hub client raises many kinds, some of its HTTP library
            gave_up = isinstance(error, LocalEntryNotFoundError)  # having been patient itself
            cause = (error.__cause__ or error) if gave_up else error
            why = words(cause)
            if isinstance(cause, HfHubHTTPError):
                status = cause.response.status_code
                why = f"HTTP {status} {type(cause).__name__}"
                if not may_pass(status):
                    raise RefusedError(f"{url}: {why}", status) from error
            _require_of_network(error, url)
            if gave_up:
                raise FetchError(f"{url}: {why}") from error
            patience.fail(why)


def _require_of_network(error: Exception, url: str) -> None:
    """Raise where it is no trouble of the network, which passes."""
    if type(error).__name__ == "TooManyRedirects":
        raise RefusedError(f"{url}: its redirects never end at a file") from error
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        raise error  # of the disk
