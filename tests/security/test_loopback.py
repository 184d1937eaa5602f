"""Servers of medi's are on the loopback, whatever host is set for those that a user starts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from flows import serve, serve_state
from flows.server import prefect_server
from tests.training_runs import free_port


class Started(Exception):
    """Instead of a process; holds the environment that it was to have."""

    def __init__(self, environment: dict[str, str]) -> None:
        super().__init__()
        self.environment = environment


@pytest.fixture(autouse=True)
def instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(command: list[str], env: dict[str, str], **_: Any) -> None:
        raise Started(env)

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setenv("PREFECT_SERVER_API_HOST", "0.0.0.0")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    for name in [name for name in os.environ if name.startswith("PREFECT_SERVER_DATABASE")]:
        monkeypatch.delenv(name)


def test_the_server_of_one_command() -> None:
    with pytest.raises(Started) as caught, prefect_server():
        pass
    assert caught.value.environment["PREFECT_SERVER_API_HOST"] == "127.0.0.1"


def test_the_server_of_medi_up() -> None:
    try:
        with pytest.raises(Started) as caught:
            serve._Parts(free_port()).start()
    finally:
        serve_state.forget()
    assert caught.value.environment["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
