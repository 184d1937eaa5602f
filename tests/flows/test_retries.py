"""Fetching is retried where another attempt can help, and only there."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from artifacts.keys import Spec
from artifacts.location import WebFiles
from artifacts.store import Store
from tests.busy_server import serving


class Upstream(BaseHTTPRequestHandler):
    """Busy for the first two requests, then gives a file that is no archive."""

    def do_GET(self) -> None:
        requests = self.server.requests  # type: ignore[attr-defined]
        requests.append(self.path)
        body = b"at last"
        self.send_response(503 if len(requests) <= 2 else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.requests = []  # type: ignore[attr-defined]
    with serving(server):
        yield server


@pytest.mark.parametrize(
    ("file", "state", "attempts"),
    [
        ("data.txt", "COMPLETED", 3),  # busy, busy, there
        ("data.zip::member.txt", "FAILED", 3),  # busy, busy, broken: not asked for again
    ],
)
def test_trouble_is_retried_and_a_broken_file_is_not(
    server: str,
    upstream: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    state: str,
    attempts: int,
) -> None:
    from prefect import flow
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from tasks.build import fetch

    monkeypatch.setattr("medi_sources.download.TRIES", 1)  # the download's own, inside a task run
    url = f"http://127.0.0.1:{upstream.server_port}/{file}"
    location = WebFiles.model_construct(kind="https", files=(url,))
    spec = Spec("fetch", "toy", 1, {"file": file})
    at_once = fetch.with_options(retry_delay_seconds=0, retry_jitter_factor=None)

    @flow
    def fetching() -> Any:
        return at_once(spec, location, Store(tmp_path), None, return_state=True)

    with temporary_settings({PREFECT_API_URL: server}):
        ended = fetching(return_state=True)
    assert ended.type.value == state
    assert len(upstream.requests) == attempts
