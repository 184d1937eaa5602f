"""A host that sends a byte now and then keeps no build waiting for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from artifacts.errors import DatasetError
from artifacts.location import WebFiles
from medi_sources.download import FetchError, within
from medi_sources.fetch import fetch
from tests.busy_server import serving, without_waiting


class Trickle(BaseHTTPRequestHandler):
    """A file of a terabyte, a byte every tenth of a second; `/busy` is never had at all."""

    def do_GET(self) -> None:
        stopped: threading.Event = self.server.stopped  # type: ignore[attr-defined]
        self.send_response(503 if self.path == "/busy" else 200)
        self.send_header("content-length", "0" if self.path == "/busy" else str(10**12))
        self.end_headers()
        while self.path != "/busy" and not stopped.wait(0.1):
            try:
                self.wfile.write(b"x")
            except OSError:
                return

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Trickle)
    server.stopped = threading.Event()  # type: ignore[attr-defined]
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"
        server.stopped.set()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["file.txt", "busy"])
def test_a_file_that_is_not_there_in_time_is_given_up(
    host: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waiting(monkeypatch)
    monkeypatch.setattr("medi_sources.download.TRIES", 10**9)
    location = WebFiles.model_construct(kind="https", files=(f"{host}/{name}",), sha256=())
    with (
        within(0.5),
        pytest.raises(DatasetError, match=r"not there after 0\.5 s: raise fetch_time"),
    ):
        fetch(location, tmp_path, None)
    assert list(tmp_path.iterdir()) == []


def test_the_time_of_one_fetch_is_not_that_of_the_next(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_waiting(monkeypatch)
    location = WebFiles.model_construct(kind="https", files=(f"{host}/busy",), sha256=())
    for seconds in (None, 3600.0):
        with within(0.0), within(seconds), pytest.raises(FetchError, match="503"):
            fetch(location, tmp_path, None)
