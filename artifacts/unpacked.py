"""Packed files, unpacked within bounds: a few kilobytes can stand for gigabytes of zeros."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from artifacts.errors import DatasetError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

GRACE = 64 << 20  # bytes that any file may unpack to
RATIO = 100  # beyond them, so many times its packed size: texts reach 3 to 20
_BUFFER = 1 << 17


def require_in_bounds(name: str, packed: int, unpacked: int) -> None:
    """Raise DatasetError where `unpacked` bytes are too many for so few packed ones."""
    if unpacked > GRACE and unpacked > RATIO * packed:
        raise DatasetError(
            f"{name}: {packed:,} bytes unpack to {unpacked:,} or more, over {RATIO} times as many: "
            "taken for a decompression bomb; if it is none, give a record of its unpacked file"
        )


def gunzipped(source: IO[bytes], name: str) -> io.BufferedReader:
    """The unpacked bytes of a gzip stream.

    Reading raises DatasetError as `require_in_bounds` does, measured by what has been read of
    `source`; else what gzip raises for a broken stream.
    """
    counted = _Counted(source, lambda _: None)
    unpacked = cast("IO[bytes]", gzip.GzipFile(fileobj=counted))
    bounded = _Counted(unpacked, lambda n: require_in_bounds(name, counted.count, n))
    return io.BufferedReader(bounded, _BUFFER)


@contextmanager
def open_gzip(path: Path) -> Iterator[IO[bytes]]:
    """The unpacked bytes of a .gz file; reading raises as `gunzipped` says."""
    with path.open("rb") as file:
        yield gunzipped(file, path.name)


def open_member(archive: zipfile.ZipFile, member: str, name: str) -> IO[bytes]:
    """A member of a zip file, which gives no more bytes than its directory says.

    Raises KeyError where there is none, DatasetError as `require_in_bounds` does.
    """
    info = archive.getinfo(member)
    require_in_bounds(f"{name}::{member}", info.compress_size, info.file_size)
    return archive.open(info)


class _Counted(io.RawIOBase):
    """A stream that tells how many bytes it has given."""

    def __init__(self, source: IO[bytes], told: Callable[[int], None]) -> None:
        self._source = source
        self._told = told
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        into = memoryview(buffer).cast("B")
        piece = self._source.read(len(into))
        into[: len(piece)] = piece
        self.count += len(piece)
        self._told(self.count)
        return len(piece)
