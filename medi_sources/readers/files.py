"""Bytes of a file as lines or JSON; `.gz` is opened by its suffix.

A row that cannot be read is given as a RowError. A file that cannot be read raises DatasetError.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from artifacts.errors import DatasetError
from artifacts.unpacked import open_gzip
from medi_sources.readers.items import Row, RowError, ToItem, items

_CHUNK = 1 << 20
_LARGEST_ELEMENT = 64 << 20  # characters; a longer one is a broken list, not a row


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of `path`, unpacked. Trouble while reading raises DatasetError naming the file."""
    try:
        with open_gzip(path) if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DatasetError(f"{path.name}: expected a whole gzip file, found {error}") from error
    except OSError as error:
        raise DatasetError(f"{path.name}: cannot be read ({error})") from error


def raw_lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends; only a line feed ends a line."""
    with opened(path) as file:
        for number, line in enumerate(file):
            if number == 0:
                line = line.removeprefix(codecs.BOM_UTF8)
            yield line.rstrip(b"\r\n")


def decoded(line: bytes) -> str:
    if b"\0" in line:
        raise RowError("nul_byte", f"at byte {line.index(0)} of the line")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RowError("invalid_utf8", f"at byte {error.start} of the line") from error


def json_lines(files: Sequence[Path], to_item: ToItem) -> Iterator[Row]:
    """One item a line over all files. Blank lines at the end of a file do not count as rows."""
    return items((value for path in files for value in line_values(path)), to_item)


def line_values(path: Path) -> Iterator[Any]:
    """The JSON value of each line; a RowError where a line has none."""
    return map(_line_value, _without_blank_end(path))


def _without_blank_end(path: Path) -> Iterator[bytes]:
    blank = 0
    for line in raw_lines(path):
        if not line.strip():
            blank += 1
            continue
        yield from [b""] * blank
        blank = 0
        yield line


def _line_value(line: bytes) -> Any:
    try:
        return json.loads(decoded(line))
    except RowError as error:
        return error
    except (ValueError, RecursionError) as error:
        return RowError("malformed", f"not JSON: {error}" if line else "blank line")


def json_file(path: Path, expected: str) -> Any:
    """The one JSON value of a file. Bytes that are not UTF-8 stay marked in their texts."""
    with opened(path) as file:
        content = file.read()
    try:
        return json.loads(content.decode("utf-8-sig", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{path.name}: expected {expected}, found no JSON ({error})") from error


def json_elements(path: Path, expected: str) -> Iterator[Any]:
    """The elements of the JSON list that a file holds, one by one: such files reach many GB."""
    with opened(path) as file:
        buffer = _Buffer(file)
        number = 0
        try:
            buffer.skip("[")
            while buffer.next_character() != "]":
                if number:
                    buffer.skip(",")
                yield buffer.value()
                number += 1
        except (ValueError, RecursionError) as error:
            raise DatasetError(
                f"{path.name}: expected {expected}, found at element {number}: {buffer.head()!r}"
            ) from error


class _Buffer:
    """A window of decoded text that moves over a file; `position` is the next character."""

    def __init__(self, file: IO[bytes]) -> None:
        self.text = ""
        self.position = 0
        self._file = file
        self._decode = json.JSONDecoder().raw_decode
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")

    def more(self) -> bool:
        """Double what lies ahead; False at the end of the file or of patience."""
        ahead = len(self.text) - self.position
        if ahead > _LARGEST_ELEMENT:
            return False
        chunk = self._file.read(max(_CHUNK, ahead))
        self.text = self.text[self.position :] + self._decoder.decode(chunk, final=not chunk)
        self.position = 0
        return bool(chunk)

    def next_character(self) -> str:
        """The next character that is not white space, "" at the end."""
        while True:
            while self.position < len(self.text):
                if self.text[self.position] not in " \t\r\n":
                    return self.text[self.position]
                self.position += 1
            if not self.more():
                return ""

    def skip(self, character: str) -> None:
        if self.next_character() != character:
            raise ValueError(f"no {character!r}")
        self.position += 1

    def value(self) -> Any:
        """The JSON value that comes next. Raises ValueError where there is none."""
        self.next_character()
        while True:
            try:
                value, self.position = self._decode(self.text, self.position)
                return value
            except ValueError:
                if not self.more():
                    raise

    def head(self) -> str:
        return self.text[self.position : self.position + 40]
