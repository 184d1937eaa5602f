"""A host on 127.0.0.1 that stands in for the Hub and for https hosts, and misbehaves on demand.

    with upstream() as server:
        server.files["/data/a.gz"] = File(body)      served at server.url + "/data/a.gz"
        server.faults = [Fault(status=503)]          how the next requests are answered

Ranges, If-Range and the Hub's headers are as the real hosts have them.
"""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

COMMIT = "c" * 40

S = TypeVar("S", bound=HTTPServer)


@dataclass(frozen=True)
class File:
    """`body` is bytes, or chunks without an end (then `size` is what is announced)."""

    body: bytes | Iterable[bytes]
    size: int | None = None

    @property
    def length(self) -> int:
        return len(self.body) if isinstance(self.body, bytes) else int(self.size or 0)

    @property
    def etag(self) -> str:
        content = self.body if isinstance(self.body, bytes) else b"endless"
        return f'"{hashlib.sha256(content).hexdigest()}"'


@dataclass(frozen=True)
class Fault:
    """What is wrong with one answer; by default nothing."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()  # besides the usual ones
    reset_at: int | None = None  # RST after so many bytes of the file
    stop_at: int | None = None  # an orderly end after so many bytes of the file
    announce: int | None = None  # another Content-Length than the file's; -1: none at all
    body: bytes | None = None  # another file, from now on
    ranges: bool = True  # False: Range is ignored
    if_range: bool = True  # False: If-Range is ignored
    etag: bool = True  # False: there is none
    for_ever: bool = False  # every further answer is like this one

    @property
    def ends_connection(self) -> bool:
        return any(each is not None for each in (self.reset_at, self.stop_at, self.announce))

    @property
    def of_status(self) -> bool:
        return self.status != 200


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, File] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.sent = 0  # bytes of bodies
        self.hung_up = threading.Event()  # a client left before the end of a body

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def put_on_hub(self, repository: str, revision: str, file: str, body: File) -> None:
        self.files[f"/datasets/{repository}/resolve/{revision}/{file}"] = body

    def asked(self, method: str = "GET") -> list[Request]:
        return [each for each in self.requests if each.method == method]

    def fault(self, method: str) -> Fault:
        """For this request. A fault of the body waits for a GET."""
        if not self.faults or (method == "HEAD" and not self.faults[0].of_status):
            return Fault()
        return self.faults[0] if self.faults[0].for_ever else self.faults.pop(0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # clients that hang up are part of the tests


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        server = cast(Server, self.server)
        server.requests.append(
            Request(self.command, self.path, {k.lower(): v for k, v in self.headers.items()})
        )
        # What a client asks of the host besides the files takes no fault away.
        fault = server.fault(self.command) if self.path in server.files else Fault()
        if fault.body is not None:
            server.files[self.path] = File(fault.body)
        file = server.files.get(self.path)
        if fault.of_status:
            self._plain(fault.status, fault.headers)
        elif file is None:
            self._plain(404, [("X-Error-Code", _why_missing(self.path, server.files))])
        else:
            self._give(server, file, fault)

    def _plain(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _give(self, server: Server, file: File, fault: Fault) -> None:
        start = self._start(file, fault) if fault.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{file.length - 1}/{file.length}")
        for name, value in fault.headers:
            self.send_header(name, value)
        if fault.etag:
            self.send_header("ETag", file.etag)
        if "/resolve/" in self.path:
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Linked-Etag", file.etag)
            self.send_header("X-Linked-Size", str(file.length))
        length = file.length if fault.announce is None else fault.announce
        if length >= 0:
            self.send_header("Content-Length", str(length - start))
        if fault.ends_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "GET":
            self._send(server, file, start, fault)

    def _start(self, file: File, fault: Fault) -> int:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        marks = [file.etag, *(value for _, value in fault.headers)]
        same = self.headers.get("If-Range", file.etag) in marks or not fault.if_range
        return int(wanted[1]) if wanted and same else 0

    def _send(self, server: Server, file: File, start: int, fault: Fault) -> None:
        stop = fault.stop_at if fault.reset_at is None else fault.reset_at
        chunks = [file.body[start:stop]] if isinstance(file.body, bytes) else file.body
        try:
            for chunk in chunks:
                server.sent += len(chunk)
                self.wfile.write(chunk)
        except OSError:
            server.hung_up.set()
            self.close_connection = True
        if fault.reset_at is not None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _why_missing(path: str, files: Iterable[str]) -> str:
    """What the Hub says of a path that it does not have."""
    repository, _, rest = path.partition("/resolve/")
    of_repository = [each for each in files if each.startswith(f"{repository}/resolve/")]
    if not of_repository:
        return "RepoNotFound"
    revision = rest.split("/")[0]
    known = any(each.startswith(f"{repository}/resolve/{revision}/") for each in of_repository)
    return "EntryNotFound" if known else "RevisionNotFound"


@contextmanager
def serving(server: S) -> Iterator[S]:
    """The server at work in a thread; closed afterwards."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def upstream() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


def serve_as_hub(server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """Make `server` the Hub of this process, with an empty cache and a user who is logged in.

    A process of its own needs HF_ENDPOINT=server.url, HF_HOME and no HF_HUB_OFFLINE instead.
    """
    from huggingface_hub import constants

    template = f"{server.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)  # it resumes in such steps
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")


def without_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps; the seconds that were to be slept are listed."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    return waits
