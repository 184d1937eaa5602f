"""The Prefect server of one command: the running one, else a real one started and stopped.

Never Prefect's ephemeral server: it loses task run records. Imports no Prefect before the
environment is set.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from artifacts.errors import InputError
from flows.database import require_database

_STARTUP_S = 180
_RECORDING_S = 60
# Prefect reads these when it is imported. The recorder's defaults write one record a transaction.
_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",  # Prefect's default is pickle
    # Their own bars would be drawn across ours.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    # The UI has the runs' logs; the terminal has progress and one line for each failure.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yields the API URL that flows of this process use from now on.

    Raises InputError for a server of another version and for a database that cannot be used,
    OSError where a server does not start or is lost meanwhile.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    url = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    with ExitStack() as stack:
        if not answers(url):
            require_database()
            url = stack.enter_context(_started())
        try:
            require_version(url)  # one of our own may want a password that was not given
            os.environ["PREFECT_API_URL"] = url
            yield url
        except httpx.HTTPError as error:
            if isinstance(error, httpx.HTTPStatusError) and not error.response.is_server_error:
                raise  # it answers, and what it was asked is wrong
            said = str(error).partition("\n")[0] or type(error).__name__
            raise OSError(
                f"the Prefect server at {url} was lost: {said}; what was made is in the store, "
                "run it again"
            ) from error


def answers(url: str, patience_s: float = 20.0) -> bool:
    """Whether a Prefect server is healthy at `url`: a busy one takes seconds to say so.

    Raises InputError for what is no address.
    """
    try:
        patience = httpx.Timeout(patience_s, connect=5.0)
        return httpx.get(f"{url}/health", timeout=patience, verify=_tls()).status_code == 200
    except httpx.HTTPError:
        return False
    except httpx.InvalidURL as error:
        raise InputError(f"PREFECT_API_URL {url}: {error}") from error


@cache
def _tls() -> ssl.SSLContext:
    """httpx would make one for each question, 40 ms of CPU beside a server that is starting."""
    return httpx.create_ssl_context()


def require_version(url: str) -> None:
    """Raises InputError where what answers at `url` is no Prefect server of our own version."""
    with client(url) as server:
        answer = server.get("/admin/version")
    if answer.status_code in (401, 403):
        raise InputError(
            f"the Prefect server at {url} lets nobody in without its password: "
            "set PREFECT_API_AUTH_STRING=USER:PASSWORD"
        )
    ours, theirs = version("prefect"), answer.text.strip().strip('"')
    if answer.status_code != 200 or not re.fullmatch(r"\d+\.\d+\S*", theirs):
        raise InputError(f"what answers at {url} is no Prefect server: {_OTHERWISE}")
    if theirs != ours:
        raise InputError(
            f"the Prefect server at {url} is of version {theirs}, medi needs {ours}: "
            f"start that one there, or {_OTHERWISE}"
        )


_OTHERWISE = (
    "set PREFECT_API_URL to another; where none answers, medi starts its own for the command"
)


def client(url: str) -> httpx.Client:
    """Of the API at `url`, with the password of PREFECT_API_AUTH_STRING where there is one."""
    user, _, password = os.environ.get("PREFECT_API_AUTH_STRING", "").partition(":")
    return _Patient(base_url=url, timeout=30.0, auth=(user, password) if user else None)


class _Patient(httpx.Client):
    """Asks again, as Prefect's own client does, what a server with a busy database put off."""

    def send(self, request: httpx.Request, **how: Any) -> httpx.Response:
        for seconds in (0.5, 1, 2, 4, 8):
            response = super().send(request, **how)
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return response
            time.sleep(seconds)
        return super().send(request, **how)


@contextmanager
def _started() -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    # The setting rather than --port: the UI that it serves then calls the right address.
    environment = os.environ | {
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": url,
        # Of no use to one command, and each installed integration is imported for it.
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    log = Path(tempfile.mkstemp(prefix="medi-prefect-server-", suffix=".log")[1])
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    healthy = False
    try:
        _wait_until_healthy(url, process, log)
        healthy = True
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if healthy:
            log.unlink(missing_ok=True)


def wait_until_recorded(url: str, flow_run: UUID, task_runs: int) -> int:
    """Wait until the server has written down `task_runs` ended task runs; returns its count.

    The recorder works behind the flow: a server stopped at once would lose the last ones.
    """
    body = {
        "flow_runs": {"id": {"any_": [str(flow_run)]}},
        "task_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]}}},
    }
    deadline = time.monotonic() + _RECORDING_S
    with client(url) as server:
        while True:
            count = int(server.post("/task_runs/count", json=body).json())
            if count >= task_runs or time.monotonic() > deadline:
                return count
            time.sleep(0.2)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_S
    while not answers(url):
        if process.poll() is not None:
            said = log.read_text(errors="replace")
            raise OSError(f"the Prefect server ended at start: {last_error(said)}; its log: {log}")
        if time.monotonic() > deadline:
            raise OSError(f"no Prefect server at {url} after {_STARTUP_S} s; its log: {log}")
        time.sleep(0.2)


def last_error(log: str) -> str:
    """The line of a server's log that ends its last traceback, else its last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit)\b", line)]
    return (errors or lines or ["it said nothing"])[-1]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
