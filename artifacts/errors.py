"""The two kinds of failure a user meets; everything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input, found before any work: one line saying what, where and what would be valid.

    The command line ends with status 2.
    """


class DatasetError(RuntimeError):
    """One dataset cannot be built; the others go on. The command line ends with status 1."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean a, b?` with up to three of `known` that are near; else nothing."""
    near = difflib.get_close_matches(name, list(known), n=3)
    return f"; did you mean {', '.join(near)}?" if near else ""
