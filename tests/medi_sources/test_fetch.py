"""Fetching: where a file comes from, and that it is what the record says."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from artifacts.errors import DatasetError, InputError
from artifacts.location import GitHubFiles, HubFiles, LocalFiles, Location, WebFiles, located
from medi_sources import fetch
from medi_sources.available import require_available
from medi_sources.window import Window
from tests.busy_server import File, Server, without_waiting

BODY = b"0123456789\n" * 1000
SHA256, OTHER = hashlib.sha256(BODY).hexdigest(), hashlib.sha256(b"").hexdigest()


@pytest.fixture
def server(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """With a file, on the Hub and beside it."""
    without_waiting(monkeypatch)
    server.put_on_hub("a/b", "main", "c/d.jsonl", File(BODY))
    server.files["/d.jsonl"] = File(BODY)
    return server


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def at(server: Server, kind: str, *sha256: str) -> HubFiles | WebFiles:
    """A file on `server`, the Hub or an https host that speaks plain http."""
    if kind == "hub":
        return HubFiles(repository="a/b", revision="main", files=("c/d.jsonl",), sha256=sha256)
    url = f"{server.url}/d.jsonl"
    return WebFiles.model_construct(kind="https", files=(url,), sha256=sha256)


@pytest.mark.parametrize("kind", ["https", "hub"])
def test_a_file_arrives_whole_and_alone(server: Server, out: Path, kind: str) -> None:
    fetch.fetch(at(server, kind), out, None)
    assert [path.name for path in out.iterdir()] == ["000-d.jsonl"]
    assert (out / "000-d.jsonl").read_bytes() == BODY


def test_a_file_of_the_hub_is_asked_for_once(server: Server, tmp_path: Path, out: Path) -> None:
    fetch.fetch(at(server, "hub"), out, None)
    server.requests.clear()
    require_available([("toy", at(server, "hub"))], None)
    fetch.fetch(at(server, "hub"), out, None)
    assert server.requests == []


def test_a_broken_file_in_the_cache_of_the_hub_is_fetched_anew(
    server: Server, tmp_path: Path, out: Path
) -> None:
    fetch.fetch(at(server, "hub"), out, None)
    (kept,) = (tmp_path / "cache").glob("*/blobs/*")
    kept.write_bytes(BODY[:-1] + b"x")
    fetch.fetch(at(server, "hub"), out, None)
    assert (out / "000-d.jsonl").read_bytes() == BODY


LOCATIONS = [
    (HubFiles(repository="a/b", revision="main", files=("c/d.gz",)), "huggingface.co/a/b/c/d.gz"),
    (GitHubFiles(repository="a/b", revision="1f", files=("d.json",)), "github.com/a/b/d.json"),
    (WebFiles(files=("https://host.org/x/y.json",)), "host.org/x/y.json"),
]


@pytest.mark.parametrize(("location", "path"), LOCATIONS)
def test_the_mirror_comes_first(
    location: HubFiles | GitHubFiles | WebFiles, path: str, tmp_path: Path, out: Path
) -> None:
    mirrored = tmp_path / "mirror" / path
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(b"mirrored")
    require_available([("toy", location)], tmp_path / "mirror")
    fetch.fetch(location, out, tmp_path / "mirror")
    (name,) = fetch.local_names(location)
    assert (out / name).read_bytes() == b"mirrored"
    assert mirrored.read_bytes() == b"mirrored"


@pytest.mark.parametrize("window", [None, Window(10, 5)])
def test_a_file_of_the_users_own(tmp_path: Path, out: Path, window: Window | None) -> None:
    (tmp_path / "d.jsonl").write_bytes(BODY)
    location = located(LocalFiles(files=("d.jsonl",)), tmp_path)
    require_available([("toy", location)], None)
    fetch.fetch(location, out, None, window)
    assert (out / "000-d.jsonl").read_bytes() == (BODY[: 11 * 5] if window else BODY)
    assert (tmp_path / "d.jsonl").read_bytes() == BODY


def test_a_member_of_an_archive(tmp_path: Path, out: Path) -> None:
    location = WebFiles(files=("https://h.org/a.zip::in/b.jsonl", "https://h.org/a.zip::in/c.txt"))
    (tmp_path / "mirror" / "h.org").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "mirror" / "h.org" / "a.zip", "w") as archive:
        archive.writestr("in/b.jsonl", "beta")
    with pytest.raises(DatasetError, match=r"a\.zip: no readable member 'in/c\.txt'"):
        fetch.fetch(location, out, tmp_path / "mirror")
    assert (out / "000-b.jsonl").read_text() == "beta"


def test_what_nothing_can_give_is_said_before_any_work(tmp_path: Path) -> None:
    location = WebFiles(files=("https://no-such-host.invalid/x.json",))
    with pytest.raises(InputError, match=r"toy: .*x\.json is missing, and no-such-host\.invalid"):
        require_available([("toy", location)], tmp_path)


def test_each_repository_is_asked_once_whether_it_has_the_file(server: Server) -> None:
    both = [("toy", at(server, kind)) for kind in ("hub", "https", "hub")]
    require_available(both, None)
    assert [each.method for each in server.requests] == ["HEAD", "HEAD"]


@pytest.mark.parametrize("kind", ["hub", "https"])
def test_what_is_not_there_is_said_before_any_work(server: Server, kind: str) -> None:
    """A revision that does not exist, above all."""
    server.files.clear()
    with pytest.raises(InputError, match=r"toy: .*(at revision|is not there).*HTTP 404"):
        require_available([("toy", at(server, kind))], None)


def test_a_hub_that_may_not_be_asked_is_out_of_reach(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        require_available([("toy", at(server, "hub"))], None)
    assert server.requests == []


WINDOW = Window(start=10, lines=5)


PLACES = [
    ("https", None),
    ("hub", None),
    ("mirror", None),
    ("hub", WINDOW),
    ("mirror", WINDOW),
]


@pytest.mark.parametrize(("place", "window"), PLACES)
def test_a_file_that_changed_under_its_pin(
    server: Server, tmp_path: Path, out: Path, place: str, window: Window | None
) -> None:
    location = at(server, place, OTHER)
    mirror = mirrored(location, tmp_path) if place == "mirror" else None
    message = f"d.jsonl: changed under a pinned revision: expected sha256 {OTHER}, found {SHA256}"
    with pytest.raises(DatasetError, match=message):
        fetch.fetch(location, out, mirror, window)
    assert list(out.iterdir()) == []


@pytest.mark.parametrize(("place", "window"), PLACES)
def test_a_file_of_its_pin(
    server: Server, tmp_path: Path, out: Path, place: str, window: Window | None
) -> None:
    location = at(server, place, SHA256)
    mirror = mirrored(location, tmp_path) if place == "mirror" else None
    fetch.fetch(location, out, mirror, window)
    assert (out / "000-d.jsonl").read_bytes() == (BODY[: 11 * 5] if window else BODY)


def test_a_pin_that_cannot_be_checked_is_not_passed_over(server: Server, out: Path) -> None:
    with pytest.raises(InputError, match="cannot be checked on a window of the file"):
        fetch.fetch(at(server, "https", SHA256), out, None, WINDOW)


def mirrored(location: HubFiles | WebFiles, tmp_path: Path) -> Path:
    path = tmp_path / "mirror" / location.mirror_path(location.files[0])
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    return tmp_path / "mirror"


@pytest.mark.parametrize("file", ["../x", "/etc/passwd", "a/../../x"])
def test_a_location_cannot_leave_its_repository(file: str) -> None:
    with pytest.raises(ValueError, match="leaves its repository"):
        HubFiles(repository="a/b", revision="main", files=(file,))


READ = TypeAdapter[Any](Location)


@pytest.mark.parametrize(
    "record",
    [
        {"kind": "hub", "repository": "a/b", "revision": "main", "files": ["c", "d"]},
        {"kind": "github", "repository": "a/b", "revision": "1f", "files": ["c"]},
        {"kind": "https", "files": ["https://h.org/c"]},
    ],
)
def test_only_pins_that_are_there_go_into_a_key(record: dict[str, Any]) -> None:
    assert READ.validate_python(record).model_dump(mode="json") == record
    pinned = record | {"sha256": [SHA256] * len(record["files"])}
    assert READ.validate_python(pinned).model_dump(mode="json") == pinned
    assert READ.validate_json(READ.dump_json(READ.validate_python(pinned))).sha256[0] == SHA256


@pytest.mark.parametrize(
    ("sha256", "fault"),
    [([SHA256], "one hash a file, or none, found 1 for 2 files"), (["abc", "abc"], "pattern")],
)
def test_pins_that_are_none(sha256: list[str], fault: str) -> None:
    with pytest.raises(ValidationError, match=fault):
        HubFiles.model_validate(
            {"repository": "a/b", "revision": "main", "files": ["c", "d"], "sha256": sha256}
        )
