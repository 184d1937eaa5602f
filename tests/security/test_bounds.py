"""A small file that unpacks to a big one is refused, wherever one is unpacked."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts import unpacked
from artifacts.errors import DatasetError
from artifacts.location import GitHubFiles
from artifacts.unpacked import open_gzip
from evaluation.layouts import read_newsgroups
from medi_sources.fetch import fetch
from medi_sources.window import Window
from tests.source_files import rows

GRACE = 1 << 20
SIZE = 8 << 20


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacked, "GRACE", GRACE)


@contextmanager
def refused() -> Iterator[None]:
    """In one line that names the file, and before the whole of it is in memory."""
    tracemalloc.start()
    try:
        with pytest.raises(DatasetError, match=r"bomb\.\S+ .*decompression bomb") as caught:
            yield
        assert tracemalloc.get_traced_memory()[1] < SIZE // 2
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def packed_zeros(folder: Path) -> Path:
    path = folder / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"\0" * SIZE))
    return path


def fetched(folder: Path, file: str, content: bytes, window: Window | None = None) -> None:
    mirror = folder / "mirror" / "github.com" / "a" / "b"
    mirror.mkdir(parents=True)
    (mirror / file.partition("::")[0]).write_bytes(content)
    (folder / "out").mkdir()
    location = GitHubFiles(repository="a/b", revision="1", files=(file,))
    fetch(location, folder / "out", folder / "mirror", window)


def test_a_reader_of_lines(tmp_path: Path) -> None:
    path = packed_zeros(tmp_path)
    with refused():
        rows("jsonl_list", path)


def test_a_reader_of_a_whole_file(tmp_path: Path) -> None:
    path = packed_zeros(tmp_path)
    with refused():
        rows("squad", path)


def test_a_window(tmp_path: Path) -> None:
    content = gzip.compress(b"\n" * SIZE)
    with refused():
        fetched(tmp_path, "bomb.jsonl.gz", content, Window(0, SIZE))


def test_a_member_of_a_zip_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", b"\0" * SIZE)
    with refused():
        fetched(tmp_path, "bomb.zip::rows.jsonl", buffer.getvalue())
    assert not any((tmp_path / "out").iterdir())


def test_a_member_that_is_larger_than_its_zip_file_says(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rows.jsonl", b"\0" * SIZE)
    content = buffer.getvalue().replace(SIZE.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    with pytest.raises(DatasetError, match=r"bomb\.zip: no readable member"):
        fetched(tmp_path, "bomb.zip::rows.jsonl", content)


@pytest.mark.parametrize("name", ["groups/sci.space/1", "elsewhere"])
def test_a_tar_of_evaluation_data(tmp_path: Path, name: str) -> None:
    """Also in a member that is none of the messages."""
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = SIZE
        archive.addfile(info, io.BytesIO(b"\0" * SIZE))
    with refused():
        read_newsgroups([tmp_path / "bomb.tar.gz"])


def test_a_parquet_file(tmp_path: Path) -> None:
    table = pa.table({"a": ["x" * SIZE], "b": ["y"]})
    pq.write_table(table, tmp_path / "bomb.parquet", compression="zstd", use_dictionary=False)
    with refused():
        rows("columns", tmp_path / "bomb.parquet", query="a", pos="b")


TEXT = b"".join(b'["%d", "the same"]\n' % i for i in range(400_000))


@pytest.mark.parametrize("content", [b"\0" * GRACE, TEXT], ids=["small, however dense", "text"])
def test_what_is_no_bomb_is_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plain.gz"
    path.write_bytes(gzip.compress(content))
    with open_gzip(path) as file:
        assert file.read() == content
