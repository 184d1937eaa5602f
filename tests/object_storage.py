"""An S3 server of moto's on loopback, a process of its own, and a bucket for each test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from s3fs import S3FileSystem

_STARTS_S = 60


@dataclass(frozen=True)
class Server:
    url: str
    log: Path

    def requests(self) -> list[str]:
        """METHOD /path of each request so far."""
        lines = self.log.read_text().splitlines()
        return [line.split('"')[1].rsplit(" ", 1)[0] for line in lines if "HTTP/1.1" in line]


@contextmanager
def moto_server(folder: Path, **environment: str) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / f"moto-{port}.log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | environment)
        try:
            _wait(port, process, log)
            yield Server(f"http://127.0.0.1:{port}", log)
        finally:
            process.terminate()
            process.wait()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _STARTS_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"moto did not start: {log.read_text()}")


def s3() -> Any:
    """The file system that a store at the server uses."""
    return S3FileSystem(use_listings_cache=False)


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture
def s3_environment(s3_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "AWS_ENDPOINT_URL": s3_server.url,
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": "test-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "MEDI_STORE_CACHE": str(tmp_path / "cache"),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def location(s3_environment: None) -> str:
    """A store in a bucket of the test's own."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    s3().mkdir(bucket)
    return f"s3://{bucket}/medi"
