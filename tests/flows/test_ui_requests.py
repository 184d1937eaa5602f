"""The UI's pages ask nobody but the server that they come from (docs/operate.md), and show what the
flows wrote."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.chromium import CHROMIUM, chromium
from tests.flows.conftest import SAMPLE
from tests.screenshots import Seen

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)"
    ),
]


@pytest.fixture
def own_server(
    prefect_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Its last build is the test's, whatever other tests have run before."""
    from flows.server import prefect_server

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with prefect_server() as url:
        yield url


def test_pages_load_nothing_from_elsewhere(medi: Run, own_server: str, tmp_path: Path) -> None:
    server = own_server
    built = medi("build", "--only", *SAMPLE, "--store", str(tmp_path / "store"), api=server)
    assert built.returncode == 0, built.stderr
    ui, seen = server.removesuffix("/api"), Seen(server)
    pages = {
        "/": "Dashboard",
        "/runs": "sample, 3 datasets",
        f"/runs/flow-run/{seen.flow_run('build-medi')}": "Completed",
        "/flows": "build-medi",
        "/deployments": "Deployments",
        "/artifacts": "dataset-allnli",
        f"/artifacts/artifact/{seen.artifact('build-medi')}": "task1146_country_capital",
        f"/artifacts/artifact/{seen.artifact('dataset-squad-pairs')}": "in the store",
        "/settings": "Settings",
    }
    with chromium(tmp_path / "chromium") as page:
        for path, shows in pages.items():
            page.open(ui + path, shows)
            page.picture(tmp_path / "page.png")
        asked = [urlsplit(url) for url in page.requests]
        broken = page.value("[...document.images].filter(one => !one.naturalWidth).length")
    assert broken == 0
    assert {one.netloc for one in asked if one.scheme not in ("data", "blob")} == {
        urlsplit(server).netloc
    }
    assert any(one.path.startswith("/api/flow_runs") for one in asked)


def test_a_request_to_elsewhere_would_be_seen(tmp_path: Path) -> None:
    page_file = tmp_path / "page.html"
    worker = "new Worker(URL.createObjectURL(new Blob(['fetch(\"http://a.invalid/w\")'])))"
    page_file.write_text(
        "<!doctype html><p>here</p><img src='http://a.invalid/i.png'>"
        f"<script>fetch('http://a.invalid/f').catch(() => 0); {worker}</script>"
    )
    with chromium(tmp_path / "chromium") as page:
        page.open(page_file.as_uri(), "here")
        page.picture(tmp_path / "page.png")
    assert {"/i.png", "/f", "/w"} <= {urlsplit(url).path for url in page.requests}
