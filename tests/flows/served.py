"""A `medi up` of a test's own: its Prefect home, port and processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from flows.server import client

ROOT = Path(__file__).resolve().parents[2]
MEDI = (sys.executable, "-c", "from flows.cli import main; main()")
PREFECT = (sys.executable, "-m", "prefect")


class Served:
    """A Prefect home and a port of a test's own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self.state = home / "medi-up" / "state.json"
        self.url = f"http://127.0.0.1:{self.port}/api"
        own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": self.url, "PWD": str(ROOT)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDI_")}
        self.environment = kept | own

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def processes(self) -> list[psutil.Process]:
        """All that was started: medi up, the server, the worker, and what these started."""
        parts = [
            psutil.Process(part["pid"]) for part in json.loads(self.state.read_bytes())["parts"]
        ]
        return parts + [child for part in parts for child in part.children(recursive=True)]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", path, body).json()

    def get(self, path: str) -> Any:
        return self._ask("GET", path).json()

    def patch(self, path: str, body: dict[str, Any]) -> None:
        self._ask("PATCH", path, body)

    def delete(self, path: str) -> None:
        self._ask("DELETE", path)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        with client(self.url) as server:
            return server.request(method, path, json=body).raise_for_status()

    def deployments(self) -> dict[str, dict[str, Any]]:
        return {one["entrypoint"]: one for one in self.post("/deployments/filter", {})}

    def automations(self) -> dict[str, bool]:
        return {one["name"]: one["enabled"] for one in self.post("/automations/filter", {})}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not true():
        assert time.monotonic() < deadline, "waited for ten minutes"
        time.sleep(0.2)


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    at = Served(tmp_path_factory.mktemp("home"))
    started = at.run(*MEDI, "up", "--detach", "--port", at.port)
    assert started.returncode == 0, started.stderr
    assert "prefect deployment run build-medi/default" in started.stdout
    yield at
    assert at.run(*MEDI, "down").returncode == 0
