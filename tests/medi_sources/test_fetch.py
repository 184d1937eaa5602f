"""Fetching: where a file comes from, and that a short or missing one is never taken for whole."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from artifacts.errors import DatasetError, InputError
from artifacts.location import GitHubFiles, HubFiles, WebFiles
from medi_sources import fetch

BODY = b"0123456789" * 1000


class Upstream(BaseHTTPRequestHandler):
    """/whole, /short (fewer bytes than announced), /moved (to /whole); all else is 404."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("location", "/whole")
            self.end_headers()
            return
        found = self.path in ("/whole", "/short")
        self.send_response(200 if found else 404)
        self.send_header("content-length", str(len(BODY) if found else 0))
        self.end_headers()
        if found:
            self.wfile.write(BODY if self.path == "/whole" else BODY[:5000])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def web(url: str) -> WebFiles:
    """A location at our own server, which speaks plain http."""
    return WebFiles.model_construct(kind="https", files=(url,))


@pytest.mark.parametrize("path", ["whole", "moved"])
def test_a_file_arrives_whole(upstream: str, tmp_path: Path, path: str) -> None:
    fetch.fetch(web(f"{upstream}/{path}"), tmp_path, None)
    assert [p.name for p in tmp_path.iterdir()] == [f"000-{path}"]
    assert (tmp_path / f"000-{path}").read_bytes() == BODY


@pytest.mark.parametrize("path", ["short", "gone"])
def test_a_short_or_missing_file_is_an_error(upstream: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(fetch.FetchError, match=f"{upstream}/{path}"):
        fetch.fetch(web(f"{upstream}/{path}"), tmp_path, None)
    assert not (tmp_path / f"000-{path}").exists()


LOCATIONS = [
    (HubFiles(repository="a/b", revision="main", files=("c/d.gz",)), "huggingface.co/a/b/c/d.gz"),
    (GitHubFiles(repository="a/b", revision="1f", files=("d.json",)), "github.com/a/b/d.json"),
    (WebFiles(files=("https://host.org/x/y.json",)), "host.org/x/y.json"),
]


@pytest.mark.parametrize(("location", "path"), LOCATIONS)
def test_the_mirror_comes_first(
    location: HubFiles | GitHubFiles | WebFiles, path: str, tmp_path: Path
) -> None:
    mirrored = tmp_path / "mirror" / path
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(b"mirrored")
    (tmp_path / "out").mkdir()
    fetch.require_available([("toy", location)], tmp_path / "mirror")
    fetch.fetch(location, tmp_path / "out", tmp_path / "mirror")
    (name,) = fetch.local_names(location)
    assert (tmp_path / "out" / name).read_bytes() == b"mirrored"


def test_a_member_of_an_archive(tmp_path: Path) -> None:
    location = WebFiles(files=("https://h.org/a.zip::in/b.jsonl", "https://h.org/a.zip::in/c.txt"))
    (tmp_path / "mirror" / "h.org").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "mirror" / "h.org" / "a.zip", "w") as archive:
        archive.writestr("in/b.jsonl", "beta")
    (tmp_path / "out").mkdir()
    with pytest.raises(DatasetError, match=r"a\.zip: no readable member 'in/c\.txt'"):
        fetch.fetch(location, tmp_path / "out", tmp_path / "mirror")
    assert (tmp_path / "out" / "000-b.jsonl").read_text() == "beta"


def test_what_nothing_can_give_is_said_before_any_work(tmp_path: Path) -> None:
    location = WebFiles(files=("https://no-such-host.invalid/x.json",))
    with pytest.raises(InputError, match=r"toy: .*x\.json is missing, and no-such-host\.invalid"):
        fetch.require_available([("toy", location)], tmp_path)


@pytest.mark.parametrize("file", ["../x", "/etc/passwd", "a/../../x"])
def test_a_location_cannot_leave_its_repository(file: str) -> None:
    with pytest.raises(ValueError, match="leaves its repository"):
        HubFiles(repository="a/b", revision="main", files=(file,))
