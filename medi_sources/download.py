"""The bytes of a URL over a bad network: resumed where they broke off, retried with back-off.

What arrives short, or changes on the way, is never given out as a file.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TypeVar

import httpx

from artifacts.errors import DatasetError, without_credentials

TRIES = 5  # failures in a row, without a byte more between them
_LONGEST_WAIT = 120.0  # seconds, whatever Retry-After asks for
_TIMEOUT = httpx.Timeout(30.0, connect=10.0)

T = TypeVar("T")


class FetchError(RuntimeError):
    """The network did not give a file this time; trying again may help."""

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class RefusedError(DatasetError):
    """The host does not give the file, and will not if asked again; `status` is its HTTP status."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class TimeOutError(DatasetError):
    """A file was not there in time: see `within`. Trying again would begin anew."""


_deadline: ContextVar[tuple[float, float] | None] = ContextVar("deadline", default=None)


@contextmanager
def within(seconds: float | None) -> Iterator[None]:
    """Downloads of this thread end with TimeOutError after so many seconds; None: whenever.

    It is looked at with each chunk that arrives and each attempt that fails, so that a host which
    says nothing is given up 30 s later at most.
    """
    until = None if seconds is None else (time.monotonic() + seconds, seconds)
    token = _deadline.set(until)
    try:
        yield
    finally:
        _deadline.reset(token)


def _require_time(what: str) -> None:
    until = _deadline.get()
    if until is not None and time.monotonic() > until[0]:
        raise TimeOutError(
            f"{what}: not there after {until[1]:g} s: raise fetch_timeout, or put the file into a "
            "mirror folder (--mirror)"
        )


class _BusyError(Exception):
    def __init__(self, why: str, retry_after: float | None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class _StartAnewError(Exception):
    """What has arrived cannot be continued: the file changed, or the host gives no parts."""


class Patience:
    """Counts failures in a row and waits after each: up to 2 s, 4 s, 8 s, ... with jitter."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failures = 0

    def progress(self) -> None:
        self._failures = 0

    def fail(self, why: str, retry_after: float | None = None) -> None:
        """Return when it is time for another attempt. Raises FetchError after `TRIES`."""
        _require_time(self._what)
        self._failures += 1
        if self._failures >= TRIES:
            raise FetchError(
                f"{self._what}: {why}, after {TRIES} attempts: "
                "try again later, or put the file into a mirror folder (--mirror)"
            )
        wait = random.uniform(0.5, 1.0) * 2**self._failures if retry_after is None else retry_after
        time.sleep(min(wait, _LONGEST_WAIT))


@dataclass
class _Arrived:
    """What of a file has arrived, and what marks the file as the same one later."""

    offset: int = 0
    total: int | None = None
    mark: str | None = None

    def headers(self) -> dict[str, str]:
        plain = {"accept-encoding": "identity"}  # the length announced is the file's
        if not self.offset:
            return plain
        return plain | {"range": f"bytes={self.offset}-", "if-range": str(self.mark)}

    def begin(self, response: httpx.Response) -> None:
        length = response.headers.get("content-length")
        if length is None and "chunked" not in response.headers.get("transfer-encoding", ""):
            raise RefusedError(
                f"{response.url.copy_with(query=None)}: its host states no length, so that a short "
                "file would pass for a whole one: put the file into a mirror folder (--mirror)"
            )
        self.total = None if length is None else int(length)
        self.mark = _mark(response)

    def resume(self, response: httpx.Response) -> None:
        found = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+)", response.headers.get("content-range", "").strip()
        )
        if (
            not found
            or int(found[1]) != self.offset
            or self.total not in (None, int(found[2]))
            or _mark(response) != self.mark
        ):
            raise _StartAnewError
        self.total = int(found[2])


class Remote:
    """The file at a URL."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._headers = dict(headers or {})
        self._patience = Patience(url)
        self._furthest = 0

    def read(self, consume: Callable[[Iterator[bytes]], T]) -> T:
        """`consume` of the file's bytes, chunk by chunk; it may leave before the end.

        It is called anew, with the bytes from the first, where the file changed on the way or
        its host gives no parts. Raises FetchError for network trouble that does not pass, and
        RefusedError where the host does not give the file.
        """
        while True:
            with closing(self._chunks()) as chunks:
                try:
                    return consume(chunks)
                except _StartAnewError:
                    continue

    def _chunks(self) -> Generator[bytes, None, None]:
        arrived = _Arrived()
        while True:
            try:
                with self._answer(arrived) as response:
                    for chunk in response.iter_raw():
                        arrived.offset += len(chunk)
                        self._note(arrived.offset)
                        if chunk:
                            yield chunk
                if arrived.total in (None, arrived.offset):
                    return
                self._patience.fail(f"{arrived.offset} bytes instead of {arrived.total}")
            except (httpx.TransportError, _BusyError) as error:
                why = str(error) if isinstance(error, _BusyError) else words(error)
                self._patience.fail(why, getattr(error, "retry_after", None))
            if arrived.offset and arrived.mark is None:
                raise _StartAnewError

    def _note(self, offset: int) -> None:
        _require_time(self._url)
        if offset > self._furthest:
            self._furthest = offset
            self._patience.progress()

    @contextmanager
    def _answer(self, arrived: _Arrived) -> Iterator[httpx.Response]:
        """The response that goes on where `arrived` ends."""
        headers = self._headers | arrived.headers()
        try:
            with httpx.stream(
                "GET", self._url, headers=headers, timeout=_TIMEOUT, follow_redirects=True
            ) as response:
                _require_given(response, self._url, resuming=bool(arrived.offset))
                if arrived.offset:
                    arrived.resume(response)
                else:
                    arrived.begin(response)
                yield response
        except httpx.TooManyRedirects as error:
            raise RefusedError(f"{self._url}: its redirects never end at a file") from error


def download(url: str, target: Path, headers: Mapping[str, str] | None = None) -> None:
    """Write the file at `url` to `target`, whole. Raises as Remote.read does."""

    def write(chunks: Iterator[bytes]) -> None:
        with target.open("wb") as out:
            for chunk in chunks:
                out.write(chunk)

    Remote(url, headers).read(write)


def may_pass(status: int) -> bool:
    """Whether the host may answer better another time."""
    return status in (408, 425, 429) or status >= 500


def words(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _require_given(response: httpx.Response, url: str, *, resuming: bool) -> None:
    status = response.status_code
    if status == (206 if resuming else 200):
        return
    if resuming and status in (200, 416):
        raise _StartAnewError
    why = f"HTTP {status} {response.headers.get('x-error-code', response.reason_phrase)}".strip()
    if may_pass(status):
        raise _BusyError(why, _retry_after(response.headers.get("retry-after", "")))
    raise RefusedError(f"{url}: {why}", status)


def _mark(response: httpx.Response) -> str | None:
    """What If-Range takes: a strong ETag, else the time of the last change."""
    etag: str = response.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("last-modified")


def _retry_after(value: str) -> float | None:
    """Seconds to wait, from a number of seconds or a date; None where it is neither."""
    if value.isdecimal():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())
