"""What a user reads when the Prefect server or its database is not as it should be."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import cast
from uuid import uuid4

import httpx
import pytest

from artifacts.errors import InputError
from flows import serve
from flows.database import SETTING, require_database
from flows.server import answers, client, last_error, prefect_server, wait_until_recorded
from tests.busy_server import serving
from tests.flows.served import PREFECT, until

Run = Callable[..., subprocess.CompletedProcess[str]]


class Other(ThreadingHTTPServer):
    """Answers as a Prefect server: healthy, of the version it is told, behind a password."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.version: bytes | None = json.dumps(version("prefect")).encode()
        self.password: str | None = None
        self.busy_s = 0.0
        self.put_off = 0  # so many answers are 503, as with a database that is locked
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._answer({"/api/health": b"true", "/api/admin/version": self._server.version})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer({"/api/task_runs/count": b"7"})

    @property
    def _server(self) -> Other:
        return cast(Other, self.server)

    def _answer(self, known: dict[str, bytes | None]) -> None:
        self._server.asked.append(self.path)
        time.sleep(self._server.busy_s)
        body, status = known.get(self.path), 200
        told = base64.b64encode((self._server.password or "").encode()).decode()
        if self._server.password and self.path != "/api/health":
            status = 200 if self.headers.get("Authorization") == f"Basic {told}" else 401
        if self._server.put_off:
            self._server.put_off -= 1
            status = 503
        self.send_response(status if body is not None else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Other]:
    with serving(Other()) as server:
        monkeypatch.setenv("PREFECT_API_URL", server.url)
        monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
        yield server


def test_a_server_of_our_version_is_used(other: Other) -> None:
    with prefect_server() as url:
        assert url == other.url


def test_a_busy_server_is_waited_for(other: Other) -> None:
    """Another one beside it, on the same database, would have the runs that this one misses."""
    other.busy_s = 2.5
    with prefect_server() as url:
        assert url == other.url


def test_what_a_busy_database_puts_off_is_asked_again(other: Other) -> None:
    other.put_off = 2
    assert wait_until_recorded(other.url, uuid4(), 7) == 7
    assert other.asked == ["/api/task_runs/count"] * 3


def test_a_server_that_is_lost_is_one_line(other: Other) -> None:
    lost = pytest.raises(OSError, match=f"{other.url} was lost: .*run it again")
    with lost as told, prefect_server() as url:
        other.put_off = 1
        httpx.get(f"{url}/admin/version").raise_for_status()
    assert "\n" not in str(told.value)


def test_a_request_that_is_wrong_is_no_lost_server(other: Other) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="404"), prefect_server() as url:
        httpx.get(f"{url}/nothing").raise_for_status()


def test_one_that_goes_before_it_says_its_version_is_lost(
    other: Other, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.server.answers", lambda _: True)
    other.shutdown()
    other.server_close()
    with pytest.raises(OSError, match=f"{other.url} was lost: "):
        prefect_server().__enter__()


def test_both_questions_take_the_proxy(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", other.url.removesuffix("/api"))
    monkeypatch.setenv("NO_PROXY", "")
    client("http://prefect.example.org/api").get("/admin/version")
    assert answers("http://prefect.example.org/api") is False
    assert other.asked == [
        f"http://prefect.example.org/api/{path}" for path in ("admin/version", "health")
    ]


def test_an_address_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:port/api")
    with pytest.raises(InputError, match=r"PREFECT_API_URL http://127\.0\.0\.1:port/api: "):
        prefect_server().__enter__()


def test_a_server_of_another_version_is_one_line(other: Other) -> None:
    other.version = b'"3.9.1"'
    with pytest.raises(InputError, match=r"is of version 3\.9\.1, medi needs 3\.8\.8") as told:
        prefect_server().__enter__()
    assert str(told.value).startswith(f"the Prefect server at {other.url} ")
    assert "\n" not in str(told.value)
    assert other.asked == ["/api/health", "/api/admin/version"]


@pytest.mark.parametrize("answer", [None, b"<html>hello</html>", b'{"detail": "no"}'])
def test_what_is_no_prefect_server_is_said(other: Other, answer: bytes | None) -> None:
    other.version = answer
    with pytest.raises(InputError, match=f"{other.url} is no Prefect server: set PREFECT_API_URL"):
        prefect_server().__enter__()


def test_a_password_is_asked_for_and_used(other: Other, monkeypatch: pytest.MonkeyPatch) -> None:
    other.password = "medi:secret"
    with pytest.raises(InputError, match="set PREFECT_API_AUTH_STRING=USER:PASSWORD"):
        prefect_server().__enter__()
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "medi:secret")
    with prefect_server() as url:
        assert wait_until_recorded(url, uuid4(), 7) == 7


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://medi@db/prefect", "'postgresql' is no driver of Prefect's"),
        (
            "mysql+aiomysql://medi@db/prefect",
            "valid is postgresql.asyncpg:// and then USER@HOST:5432/",
        ),
        ("not a url", "is no database's address"),
        ("postgresql+asyncpg://medi@db:port/prefect", "is no database's address"),
    ],
)
def test_a_wrong_address_of_a_database_is_one_line(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, url)
    with pytest.raises(InputError, match=f"^{SETTING}.*{said}"):
        require_database()


def test_a_database_that_is_not_there_is_one_line_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also of `medi up`, before a part is started."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        monkeypatch.setenv(SETTING, f"postgresql+asyncpg://medi:secret@127.0.0.1:{nobody}/prefect")
        monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{nobody}/api")
        monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
        for ask in (prefect_server().__enter__, lambda: serve.up(_free_port(), detach=True)):
            with pytest.raises(InputError, match=r"user 'medi', cannot be used: .*Connect") as told:
                ask()
            assert "secret" not in str(told.value) and "\n" not in str(told.value)
    assert not (tmp_path / "medi-up" / "server.log").exists()


def test_a_sqlite_file_is_prefects_own_to_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(SETTING, f"sqlite+aiosqlite:///{tmp_path / 'prefect.db'}")
    require_database()
    assert not (tmp_path / "prefect.db").exists()


def test_the_reason_is_found_in_a_servers_log() -> None:
    log = """Traceback (most recent call last):
  File "engine.py", line 1, in connect
sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) unable to open database file
(Background on this error at: https://sqlalche.me/e/21/e3q8)

ERROR:    Application startup failed. Exiting.
Server stopped!
"""
    assert last_error(log).startswith("sqlalchemy.exc.OperationalError: (sqlite3.Oper")
    assert last_error("it began\nKilled\n\n") == "Killed"
    assert last_error("") == "it said nothing"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.long
def test_a_server_behind_a_password_runs_a_build_of_who_has_it(
    medi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    own = {"PREFECT_SERVER_API_AUTH_STRING": "medi:secret", "PREFECT_HOME": str(tmp_path / "home")}
    command = (*PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(port))
    with subprocess.Popen(
        command, env=os.environ | own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            until(lambda: answers(url))
            build = ("build", "--only", "squad_pairs", "--store", str(tmp_path / "store"))
            refused = medi(*build, api=url)
            assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
            assert "lets nobody in without its password" in refused.stderr
            monkeypatch.setenv("PREFECT_API_AUTH_STRING", "medi:secret")
            built = medi(*build, api=url)
            assert built.returncode == 0, built.stderr
            assert "secret" not in built.stdout + built.stderr
        finally:
            server.terminate()
