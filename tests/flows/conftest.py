"""Runs the `medi` command as a user does, on small generated mirrors and one Prefect server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.served import served as served
from tests.object_storage import location as location
from tests.object_storage import s3_environment as s3_environment
from tests.object_storage import s3_server as s3_server

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [path.parent.name for path in sorted(ROOT.glob("*/__init__.py"))]

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, so that a test may edit an annotation."""
    copy = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package)
    return copy


@pytest.fixture(scope="session")
def server(prefect_home: Path) -> Iterator[str]:
    """One server for the session; flows.server finds it through PREFECT_API_URL."""
    from flows.server import prefect_server

    before = os.environ.pop("PREFECT_API_URL", None)
    with prefect_server() as url:
        yield url
    os.environ.pop("PREFECT_API_URL", None)
    if before:
        os.environ["PREFECT_API_URL"] = before


@pytest.fixture(scope="session")
def medi(checkout: Path, prefect_home: Path) -> Run:
    """medi("plan", "--json", api=URL or None) -> the finished process."""

    def run(*arguments: str, api: str | None = None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": str(checkout),
            # Port 9 is nobody's: without a server of the session, the command starts its own.
            "PREFECT_API_URL": api or "http://127.0.0.1:9/api",
        }
        environment.pop("MEDI_STORE", None)
        environment.pop("MEDI_MIRROR", None)
        return subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main()", *arguments],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
        )

    return run


SAMPLE = ("squad_pairs", "allnli", "task1146_country_capital")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("build") / "store"


@pytest.fixture(scope="session")
def built(store: Path, medi: Run) -> subprocess.CompletedProcess[str]:
    """Three sample datasets, built by a command that starts a server of its own."""
    publish = str(store.parent / "medi")
    return medi("build", "--only", *SAMPLE, "--store", str(store), "--publish", publish)
