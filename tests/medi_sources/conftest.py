"""Shared by the tests of fetching: a host that stands in for the Hub and for https hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.busy_server import Server, serve_as_hub, upstream


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    with upstream() as server:
        serve_as_hub(server, monkeypatch, tmp_path / "cache")
        yield server
