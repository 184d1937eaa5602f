"""The two kinds of failure a user meets; everything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_CREDENTIALS = re.compile(r"(?<=://)(?:[^/\s]*@|[^/\s]*:\S*@)")  # a secret may have a slash in it


def without_credentials(text: str) -> str:
    """The text, its URLs without the user and password that may stand in front of a host."""
    return _CREDENTIALS.sub("", text)


class InputError(ValueError):
    """Bad input, found before any work: one line saying what, where and what would be valid.

    The command line ends with status 2. Messages are without_credentials.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class DatasetError(RuntimeError):
    """One dataset cannot be built; the others go on. The command line ends with status 1.

    Messages are without_credentials.
    """

    def __init__(self, message: str) -> None:
        super().__init__(without_credentials(message))


class NotInStore(DatasetError, LookupError):
    """An artifact that was to be read is missing or broken: the next run makes it."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean a, b?` with up to three of `known` that are near; else nothing."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {', '.join(near)}?" if near else ""
