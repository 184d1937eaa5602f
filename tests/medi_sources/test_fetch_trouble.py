"""A host that misbehaves: the right bytes arrive, or fetching ends in one clear error."""

from __future__ import annotations

import gzip
import io
import random
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from artifacts.errors import DatasetError, InputError
from artifacts.location import GitHubFiles, HubFiles, Location, WebFiles
from medi_sources.download import TRIES
from medi_sources.fetch import FetchError, fetch, local_names
from medi_sources.window import Window
from tests.busy_server import Fault, File, Server, without_waiting


def lines(seed: int) -> list[bytes]:
    draw = random.Random(seed)
    return [f'["{i}", "{draw.randbytes(40).hex()}"]\n'.encode() for i in range(4000)]


OLD, NEW = lines(1), lines(2)
BODY, CHANGED = (gzip.compress(b"".join(each), mtime=0) for each in (OLD, NEW))
QUARTER = len(BODY) // 4
WINDOW = Window(start=2000, lines=500)  # lies after the first quarter and before the end
FILE = "data.jsonl.gz"


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    return without_waiting(monkeypatch)


def put(server: Server, kind: str, body: bytes, name: str = FILE) -> Location:
    """A file on `server`, which is an https host or the Hub."""
    if kind == "hub":
        server.put_on_hub("a/b", "main", name, File(body))
        return HubFiles(repository="a/b", revision="main", files=(name,))
    server.files[f"/{name}"] = File(body)
    return web(f"{server.url}/{name}")


def web(url: str, sha256: tuple[str, ...] = ()) -> WebFiles:
    """A location at our own server, which speaks plain http."""
    return WebFiles.model_construct(kind="https", files=(url,), sha256=sha256)


def fetched(location: Location, folder: Path, window: Window | None = None) -> bytes:
    """The one file of `location`; nothing else may be left in `folder`."""
    folder.mkdir()
    try:
        fetch(location, folder, None, window)
    except Exception:
        assert list(folder.iterdir()) == []
        raise
    (path,) = folder.iterdir()
    assert [path.name] == local_names(location)
    return path.read_bytes()


BUSY = Fault(status=503)
LATER = Fault(status=429, headers=(("Retry-After", "7"),))
LOOP = Fault(status=302, headers=(("Location", FILE),), for_ever=True)
TROUBLE: dict[str, tuple[list[Fault], str | list[bytes]]] = {
    "429 with Retry-After": ([LATER], OLD),
    "503 twice": ([BUSY, BUSY], OLD),
    "503 for ever": ([Fault(status=503, for_ever=True)], "503"),
    "403": ([Fault(status=403, for_ever=True)], "403"),
    "reset": ([Fault(reset_at=QUARTER)], OLD),
    "reset twice, then busy": ([Fault(reset_at=QUARTER), Fault(reset_at=QUARTER + 9), BUSY], OLD),
    "reset, Range ignored": ([Fault(reset_at=QUARTER), Fault(ranges=False)], OLD),
    "reset for ever": ([Fault(reset_at=QUARTER, ranges=False, for_ever=True)], "Error"),
    "hung up": ([Fault(stop_at=QUARTER)], OLD),
    "hung up, too little more": ([Fault(stop_at=QUARTER), Fault(announce=len(BODY) - 99)], OLD),
    "changed when resumed": ([Fault(stop_at=QUARTER), Fault(body=CHANGED)], NEW),
    "changed, no ETag": ([Fault(stop_at=QUARTER, etag=False), Fault(body=CHANGED)], NEW),
    "longer than it is": ([Fault(announce=len(BODY) + 99, for_ever=True)], "Error|bytes"),
    "shorter than it is": ([Fault(announce=len(BODY) - 99, for_ever=True)], "broken|size"),
    "redirect loop": ([LOOP], "redirects never end"),
}
PAST_THE_WINDOW = {"longer than it is", "shorter than it is"}


@pytest.mark.parametrize("window", [None, WINDOW], ids=["whole", "window"])
@pytest.mark.parametrize("kind", ["https", "hub"])
@pytest.mark.parametrize("trouble", TROUBLE)
def test_the_right_bytes_or_one_clear_error(
    server: Server, tmp_path: Path, trouble: str, kind: str, window: Window | None
) -> None:
    faults, expected = TROUBLE[trouble]
    server.faults = list(faults)
    location = put(server, kind, BODY)
    if window and trouble in PAST_THE_WINDOW:
        expected = OLD
    if isinstance(expected, str):
        with pytest.raises((FetchError, DatasetError, InputError), match=expected) as raised:
            fetched(location, tmp_path / "out", window)
        assert FILE in str(raised.value)
        assert "\n" not in str(raised.value)
        return
    if window:
        expected = expected[window.start : window.start + window.lines]
    assert gzip.decompress(fetched(location, tmp_path / "out", window)) == b"".join(expected)


@pytest.mark.parametrize("kind", ["https", "hub"])
@pytest.mark.parametrize("etag", [True, False])
@pytest.mark.parametrize("if_range", [True, False])
def test_two_versions_of_one_length_are_never_spliced(
    server: Server, tmp_path: Path, kind: str, etag: bool, if_range: bool
) -> None:
    old, new = b"a" * 5000, b"b" * 5000
    resumed = Fault(body=new, etag=etag, if_range=if_range)
    server.faults = [Fault(stop_at=2500, etag=etag), resumed]
    assert fetched(put(server, kind, old, "data.jsonl"), tmp_path / "out") == new


def test_a_broken_off_file_is_asked_for_from_where_it_broke_off(
    server: Server, tmp_path: Path
) -> None:
    server.faults = [Fault(stop_at=QUARTER)]
    assert fetched(put(server, "https", BODY), tmp_path / "out") == BODY
    first, second = server.asked()
    assert "range" not in first.headers
    assert second.headers["range"] == f"bytes={QUARTER}-"
    assert second.headers["if-range"] == File(BODY).etag
    assert server.sent == len(BODY)


def test_without_an_etag_the_time_of_the_last_change_tells_versions_apart(
    server: Server, tmp_path: Path
) -> None:
    modified = (("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"),)
    server.faults = [
        Fault(stop_at=QUARTER, etag=False, headers=modified),
        Fault(etag=False, headers=modified),
    ]
    assert fetched(put(server, "https", BODY), tmp_path / "out") == BODY
    assert server.asked()[1].headers["if-range"] == modified[0][1]
    assert server.sent == len(BODY)


@pytest.mark.parametrize("kind", ["https", "hub"])
@pytest.mark.parametrize(
    ("name", "body"),
    [
        (FILE, BODY[:-10]),
        (FILE, b"<html>not found</html>"),
        ("data.zip", b"PK\3\4 and no directory"),
    ],
)
def test_a_file_that_is_broken_upstream(
    server: Server, tmp_path: Path, waits: list[float], kind: str, name: str, body: bytes
) -> None:
    with pytest.raises(DatasetError, match=rf"{name}: is broken where it lies upstream"):
        fetched(put(server, kind, body, name), tmp_path / "out")
    assert waits == []


def test_a_member_of_an_archive_from_the_network(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("in/b.txt", "beta")
    server.files["/a.zip"] = File(packed.getvalue())
    assert fetched(web(f"{server.url}/a.zip::in/b.txt"), tmp_path / "out") == b"beta"


def test_a_host_that_does_not_get_better_is_asked_a_bounded_number_of_times(
    server: Server, tmp_path: Path, waits: list[float]
) -> None:
    server.faults = [Fault(status=503, for_ever=True)]
    with pytest.raises(FetchError, match=f"HTTP 503 .* after {TRIES} attempts"):
        fetched(put(server, "https", BODY), tmp_path / "out")
    assert len(server.requests) == TRIES
    assert all(2**i <= wait <= 2 ** (i + 1) for i, wait in enumerate(waits))


def test_the_patience_of_the_hub_client_is_not_multiplied(server: Server, tmp_path: Path) -> None:
    server.faults = [Fault(status=503, for_ever=True)]
    with pytest.raises(FetchError, match="HTTP 503"):
        fetched(put(server, "hub", BODY), tmp_path / "out")
    assert len(server.requests) < 2 * TRIES


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("7", 7, 7),
        ("86400", 120, 120),
        (format_datetime(datetime.now(UTC) + timedelta(days=1)), 120, 120),
        (format_datetime(datetime.now(UTC) - timedelta(days=1)), 0, 0),
        ("soon", 1, 2),
    ],
    ids=["seconds", "a day", "tomorrow", "yesterday", "no time"],
)
@pytest.mark.parametrize("status", [429, 503])
def test_what_retry_after_asks_is_waited_for_up_to_a_bound(
    server: Server,
    tmp_path: Path,
    waits: list[float],
    status: int,
    asked: str,
    least: int,
    most: int,
) -> None:
    server.faults = [Fault(status=status, headers=(("Retry-After", asked),))]
    assert fetched(put(server, "https", BODY), tmp_path / "out") == BODY
    (wait,) = waits
    assert least <= wait <= most


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_asked_for_again(
    server: Server, tmp_path: Path, waits: list[float], status: int
) -> None:
    server.faults = [Fault(status=status, for_ever=True)]
    with pytest.raises(DatasetError, match=f"{FILE}: HTTP {status}"):
        fetched(put(server, "https", BODY), tmp_path / "out")
    assert len(server.requests) == 1
    assert waits == []


@pytest.mark.parametrize("window", [None, WINDOW], ids=["whole", "window"])
@pytest.mark.parametrize(
    ("repository", "revision", "file", "why"),
    [
        ("a/b", "0ld", FILE, "RevisionNotFound"),
        ("a/b", "main", "other.gz", "EntryNotFound"),
        ("a/c", "main", FILE, "(Repo|Repository)NotFound"),
    ],
)
def test_what_the_hub_does_not_have_is_named(
    server: Server,
    tmp_path: Path,
    waits: list[float],
    repository: str,
    revision: str,
    file: str,
    why: str,
    window: Window | None,
) -> None:
    put(server, "hub", BODY)
    location = HubFiles(repository=repository, revision=revision, files=(file,))
    message = rf"^{file}: {repository} does not give it at revision {revision} \(.*{why}"
    with pytest.raises(InputError, match=message) as raised:
        fetched(location, tmp_path / "out", window)
    assert "\n" not in str(raised.value)
    assert waits == []


def test_a_commit_that_github_does_not_have_is_named(
    server: Server, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(GitHubFiles, "url", lambda self, file: f"{server.url}/{file}")
    location = GitHubFiles(repository="a/b", revision="1f", files=("d.json",))
    with pytest.raises(InputError, match=r"^d\.json: a/b does not give it at revision 1f"):
        fetched(location, tmp_path / "out")
    assert waits == []


def test_a_length_that_is_not_stated_is_not_believed(server: Server, tmp_path: Path) -> None:
    server.files[f"/{FILE}"] = File(BODY)
    server.faults = [Fault(announce=-1, stop_at=QUARTER)]
    with pytest.raises(DatasetError, match="states no length"):
        fetched(web(f"{server.url}/{FILE}"), tmp_path / "out")
