"""A window of lines of a giant file, read as a stream: no more than the window is ever held."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from artifacts.errors import DatasetError
from artifacts.unpacked import gunzipped
from medi_sources.query_sample import rank

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_PIECE = 1 << 18  # bytes of unpacked text held at once
_FURTHEST = 4  # windows before the one that is read


@dataclass(frozen=True)
class Window:
    """`lines` lines of a file, the first of which is line `start`, counted from 0."""

    start: int
    lines: int

    def __post_init__(self) -> None:
        if self.start < 0 or self.lines < 1:
            raise ValueError(f"{self}: expected start >= 0 and lines >= 1")


def window_of(seed: int, name: str, upstream_rows: int | None, lines: int) -> Window | None:
    """The window of the source `name` that the seed draws; None where the file has no more lines.

    A packed file can only be read from its beginning, so that what lies before the window costs
    network as well. The start is therefore among the first 4 windows' lines: of a file of any
    size at most 5 windows are read, and lines further on are never drawn.
    """
    if upstream_rows is None or upstream_rows <= lines:
        return None
    last = min(upstream_rows - lines, _FURTHEST * lines)
    return Window(rank(seed, f"window of {name}") % (last + 1), lines)


def copy_window(source: IO[bytes], target: Path, window: Window, name: str) -> None:
    """Write the window's lines of `source` to `target`, and read no further.

    Where `name` ends in .gz the source is unpacked and the target packed; equal lines make equal
    bytes. A file that ends inside the window gives the lines that it has. Raises DatasetError
    where it has none of them or is no whole gzip file.
    """
    packed = name.endswith(".gz")
    with ExitStack() as stack:
        out: IO[bytes] = stack.enter_context(target.open("wb"))
        if packed:
            source = gunzipped(source, name)
            out = cast(
                "IO[bytes]",
                stack.enter_context(gzip.GzipFile("", "wb", compresslevel=6, fileobj=out, mtime=0)),
            )
        try:
            line, written = _copy(source, out, window)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DatasetError(f"{name}: expected a whole gzip file, found {error}") from error
    if not written:
        raise DatasetError(
            f"{name}: expected more than {window.start} lines, found {line}: "
            "correct upstream_rows in its record"
        )


def _copy(source: IO[bytes], out: IO[bytes], window: Window) -> tuple[int, int]:
    """(line ends seen, bytes written). A piece may be part of a line or hold many."""
    line = written = 0
    end = window.start + window.lines
    while line < end and (piece := source.read(_PIECE)):
        first = _after(piece, window.start - line)
        written += out.write(piece[first : _after(piece, end - line)])
        line += piece.count(b"\n")
    return line, written


def _after(piece: bytes, ends: int) -> int:
    """The position after that many line ends; the length of `piece` where it has fewer."""
    if ends > piece.count(b"\n"):
        return len(piece)
    position = 0
    for _ in range(ends):
        position = piece.index(b"\n", position) + 1
    return position


class ChunkReader(io.RawIOBase):
    """Chunks of bytes as a file to read from; no chunk may be empty."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        into = memoryview(buffer).cast("B")
        count = min(len(into), len(self._rest))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
