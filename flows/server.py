"""The Prefect server of one command: the running one, else a real one started and stopped.

Never Prefect's ephemeral server: it loses task run records. Imports no Prefect before the
environment is set.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx

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
    # Their own bars would be drawn across ours.
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    # The UI has the runs' logs; the terminal has progress and one line for each failure.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


@contextmanager
def prefect_server() -> Iterator[str]:
    """Yields the API URL that flows of this process use from now on."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    url = os.environ.get("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    if answers(url):
        os.environ["PREFECT_API_URL"] = url
        yield url
        return
    with _started() as url:
        os.environ["PREFECT_API_URL"] = url
        yield url


def answers(url: str) -> bool:
    """Whether a Prefect server is healthy at `url`."""
    try:
        return httpx.get(f"{url}/health", timeout=2.0).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def _started() -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}/api"
    # The setting rather than --port: the UI that it serves then calls the right address.
    environment = os.environ | {
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_API_URL": url,
    }
    command = [sys.executable, "-m", "prefect", "server", "start"]
    log = Path(tempfile.mkstemp(prefix="medi-prefect-server-", suffix=".log")[1])
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        _wait_until_healthy(url, process, log)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
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
    while True:
        count = int(httpx.post(f"{url}/task_runs/count", json=body, timeout=30.0).json())
        if count >= task_runs or time.monotonic() > deadline:
            return count
        time.sleep(0.2)


def _wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _STARTUP_S
    while not answers(url):
        if process.poll() is not None:
            raise RuntimeError(f"the Prefect server ended at start: {log.read_text()[-2000:]}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"the Prefect server did not answer at {url} in {_STARTUP_S} s")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
