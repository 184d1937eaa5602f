"""Windows of giant files: the right lines, and neither disk, memory nor network for the others."""

from __future__ import annotations

import gzip
import io
import itertools
import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.errors import DatasetError
from artifacts.location import HubFiles, WebFiles
from medi_sources.fetch import fetch
from medi_sources.window import ChunkReader, Window, copy_window, window_of
from tests.busy_server import File, Server

LINES = [f"[{i}]\n".encode() for i in range(1000)]
FILE = "data.jsonl.gz"


def windowed(chunks: Iterator[bytes], target: Path, window: Window) -> None:
    with io.BufferedReader(ChunkReader(chunks)) as source:
        copy_window(source, target, window, target.name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    texts=st.lists(st.binary(max_size=12).map(lambda text: text.replace(b"\n", b"")), min_size=1),
    last_ends=st.booleans(),
    cuts=st.lists(st.integers(0, 400), max_size=4),
    at=st.tuples(st.integers(0, 40), st.integers(1, 40)),
    packed=st.booleans(),
)
def test_a_window_is_a_slice_of_the_lines(
    tmp_path: Path,
    texts: list[bytes],
    last_ends: bool,
    cuts: list[int],
    at: tuple[int, int],
    packed: bool,
) -> None:
    """Whatever the chunks and the gzip members of which the file consists."""
    whole = b"\n".join(texts) + (b"\n" if last_ends else b"")
    lines = io.BytesIO(whole).readlines()
    start, count = at
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    parts = [whole[a:b] for a, b in itertools.pairwise(places)]
    chunks = [gzip.compress(part) if packed else part for part in parts]
    target = tmp_path / ("w.jsonl.gz" if packed else "w.jsonl")
    expected = b"".join(lines[start : start + count])
    stream = iter([chunk for chunk in chunks if chunk])
    if not expected:
        with pytest.raises(DatasetError, match=f"more than {start} lines, found"):
            windowed(stream, target, Window(start, count))
        return
    windowed(stream, target, Window(start, count))
    written = target.read_bytes()
    assert (gzip.decompress(written) if packed else written) == expected


def test_equal_lines_make_equal_bytes(tmp_path: Path) -> None:
    for level in (1, 9):
        body = gzip.compress(b"".join(LINES), compresslevel=level)
        windowed(iter([body]), tmp_path / f"{level}.gz", Window(10, 10))
    written = (tmp_path / "1.gz").read_bytes()
    assert written == (tmp_path / "9.gz").read_bytes()
    assert written[4:8] == bytes(4)  # no time of writing


@pytest.mark.parametrize("start", [0, 995])
def test_a_file_that_is_cut_is_no_short_window(tmp_path: Path, start: int) -> None:
    body = gzip.compress(b"".join(LINES))[:-10]
    with pytest.raises(DatasetError, match=r"w\.gz: expected a whole gzip file, found"):
        windowed(iter([body]), tmp_path / "w.gz", Window(start, 1001))


@pytest.mark.parametrize("kind", ["hub", "https"])
def test_an_endless_file_costs_no_more_than_its_window(
    server: Server, tmp_path: Path, kind: str
) -> None:
    draw = random.Random(0)
    lines = [f'["{draw.randbytes(40).hex()}"]\n'.encode() for _ in range(1000)]
    member = gzip.compress(b"".join(lines))
    endless = File(itertools.repeat(member), size=1 << 40)
    if kind == "hub":
        server.put_on_hub("a/b", "main", FILE, endless)
        location: HubFiles | WebFiles = HubFiles(repository="a/b", revision="main", files=(FILE,))
    else:
        server.files[f"/{FILE}"] = endless
        location = WebFiles.model_construct(files=(f"{server.url}/{FILE}",), sha256=())
    (tmp_path / "out").mkdir()
    fetch(location, tmp_path / "out", None, Window(start=2500, lines=1000))
    (path,) = (tmp_path / "out").iterdir()
    assert gzip.decompress(path.read_bytes()) == b"".join(lines[500:] + lines[:500])
    assert server.hung_up.wait(60)
    # Four members are needed; the rest is what the two sockets hold.
    assert server.sent < 4 * len(member) + (12 << 20)
    assert not (tmp_path / "cache").exists()
    (request,) = server.asked()
    assert request.headers.get("authorization") == (
        "Bearer hf_of_the_user" if kind == "hub" else None
    )


@pytest.mark.parametrize("length", [128, 32 << 20])
def test_memory_holds_neither_lines_nor_chunks(tmp_path: Path, length: int) -> None:
    """Of 128 MB of text, in lines short or long, packed 30 times smaller."""
    text = bytearray(random.Random(0).randbytes(1 << 20).replace(b"\n", b" ").ljust(32 << 20, b"x"))
    text[length - 1 :: length] = b"\n" * (len(text) // length)
    count, packed = 4 * len(text) // length, gzip.compress(text)
    tracemalloc.start()
    try:
        windowed(itertools.repeat(packed, 4), tmp_path / "w.gz", Window(1, count - 2))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", ["mirror", "cache"])
def test_a_window_of_a_file_at_hand(server: Server, tmp_path: Path, place: str) -> None:
    body = gzip.compress(b"".join(LINES))
    location = HubFiles(repository="a/b", revision="main", files=(FILE,))
    server.put_on_hub("a/b", "main", FILE, File(body))
    mirror = tmp_path / "mirror" if place == "mirror" else None
    if mirror:
        (mirror / "huggingface.co/a/b").mkdir(parents=True)
        (mirror / "huggingface.co/a/b" / FILE).write_bytes(body)
    else:
        fetch(location, tmp_path, None)
    server.requests.clear()
    (tmp_path / "out").mkdir()
    fetch(location, tmp_path / "out", mirror, Window(998, 10))
    (path,) = (tmp_path / "out").iterdir()
    assert gzip.decompress(path.read_bytes()) == b"".join(LINES[998:])
    assert server.requests == []


@pytest.mark.parametrize("files", [("a.gz", "b.gz"), ("a.zip::b",)])
def test_only_one_file_of_lines_has_windows(tmp_path: Path, files: tuple[str, ...]) -> None:
    location = HubFiles(repository="a/b", revision="main", files=files)
    with pytest.raises(ValueError, match="a window is of one file of lines"):
        fetch(location, tmp_path, None, Window(0, 1))


@given(seed=st.integers(), name=st.text(), rows=st.integers(1, 10**9), lines=st.integers(1, 10**6))
def test_a_window_lies_in_its_file_and_near_its_beginning(
    seed: int, name: str, rows: int, lines: int
) -> None:
    window = window_of(seed, name, rows, lines)
    assert (window is None) == (rows <= lines)
    if window is not None:
        assert window.lines == lines
        assert 0 <= window.start <= min(rows - lines, 4 * lines)
        assert window == window_of(seed, name, rows, lines)


def test_the_seed_and_the_name_draw_the_start() -> None:
    starts = {window_of(seed, name, 10**9, 10**6) for seed in range(3) for name in ("paq", "s2orc")}
    assert len(starts) == 6
    assert window_of(0, "paq", None, 10) is None
