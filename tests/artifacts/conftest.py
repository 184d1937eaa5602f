"""Object storage for the tests of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.store import Store
from tests.object_storage import location as location
from tests.object_storage import s3_environment as s3_environment
from tests.object_storage import s3_server as s3_server


@pytest.fixture
def machine(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Store]:
    """machine("a"): the store as a machine of that name opens it, with a cache of its own."""

    def opened(name: str) -> Store:
        monkeypatch.setenv("MEDI_STORE_CACHE", str(tmp_path / name))
        return Store.open(location)

    return opened
