"""Cleaning: which rows can be used, and why the others cannot.

Texts keep their wording; only white space at their ends is taken off. Two texts are the same
where artifacts.text.normalise says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, Field

from artifacts.text import normalise
from medi_sources.readers.items import Dropped, Item

# Every reason for which a row of a source is not in MEDI, as a user reads it.
REASONS = {
    "malformed": "The row cannot be read: it is not in the format of its file.",
    "wrong_fields": "A field is missing, is of another type, or has nothing in it.",
    "invalid_utf8": "A text has bytes that are not UTF-8, or half a character.",
    "nul_byte": "A text has a NUL byte.",
    "no_positive": "The source gives the query no positive.",
    "empty": "The query or every positive is empty or white space.",
    "too_short": "The query or every positive is shorter than min_chars.",
    "too_long": "The query or every positive is longer than max_chars.",
    "non_text": "The query or every positive has hardly a letter or digit in it.",
    "query_is_positive": "Query and positive are the same text.",
    "boilerplate": "The positive is that of too many other queries to be an answer to this one.",
    "duplicate": "A row before it has the same query and positive (Super-NI: the same input).",
    "joined": "A row before it has the same query and now knows this row's positives as well.",
    "near_duplicate": "A row before it has nearly the same query and nearly the same positive.",
    "no_partner": "No other instance of the Super-NI task can be its positive or its negative.",
    "over_cap": "Usable, but not drawn: the dataset has more rows than it may give.",
}

# Those that speak against a source. Sound sources have the others too.
BAD_REASONS = frozenset(
    {
        "malformed",
        "wrong_fields",
        "invalid_utf8",
        "nul_byte",
        "empty",
        "too_long",
        "too_short",
        "non_text",
    }
)

_NOT_TEXT = re.compile(r"[\W_]+")
_SPACE = re.compile(r"\s+")
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_LEAST_SHARE = 0.1  # of letters and digits among what is not white space


class CleaningOptions(BaseModel):
    """Lengths are in characters, after stripping, both ends allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_chars: int = Field(default=2, ge=1)
    max_chars: int = Field(default=100_000, ge=1)
    max_drop_share: float = Field(default=0.2, ge=0, le=1)  # of rows with a bad reason
    # Boilerplate is the positive of more than this share of the rows (1: nothing is) ...
    boilerplate_share: float = Field(default=0.005, gt=0, le=1)
    boilerplate_queries: int = Field(default=100, ge=2)  # ... and of so many different queries
    # From this Jaccard similarity of character 5-grams on the later row is dropped; None: never.
    near_duplicates: float | None = Field(default=None, ge=0.5, le=1)


def clean(item: Item, options: CleaningOptions) -> Item | Dropped:
    """The item without its unusable texts, or the reason why nothing usable is left.

    A bad query drops the row, a bad positive only where no other is left, a bad negative never.
    In a set all texts are alike. Positives and negatives come out distinct, as texts first met.
    """
    if item.output is not None:
        return _clean_superni(item, options)
    if item.is_set:
        return _clean_set(item, options)
    reason = fault(query := item.query.strip(), options)
    if reason:
        return Dropped(item.row_id, reason, shown("query", query))
    positives, reason, bad = _usable(item.positives, options)
    positives.pop(normalise(query), None)
    if not positives:
        return _without_positive(item, query, reason, bad)
    negatives, _, _ = _usable(item.negatives, options)
    return replace(
        item,
        query=query,
        positives=tuple(positives.values()),
        negatives=tuple(negatives.values()),
    )


def fault(text: str, options: CleaningOptions) -> str | None:
    """Why a stripped text cannot be used, or None."""
    if not text:
        return "empty"
    if reason := _unstorable(text):
        return reason
    if len(text) < options.min_chars:
        return "too_short"
    if len(text) > options.max_chars:
        return "too_long"
    return None if _is_text(text) else "non_text"


def _is_text(text: str) -> bool:
    """At least a tenth of what is not white space is letters and digits."""
    beginning = text[: max(32, len(text) // 4)]
    if _letters(beginning) >= _LEAST_SHARE * len(text):
        return True  # so it is of the whole, and most texts end here
    return _letters(text) >= _LEAST_SHARE * len(_SPACE.sub("", text))


def _letters(text: str) -> int:
    return len(_NOT_TEXT.sub("", text))


def _unstorable(text: str) -> str | None:
    if "\0" in text:
        return "nul_byte"
    # Half a surrogate pair: a JSON escape, or a byte that was not UTF-8.
    if not text.isascii() and _HALF_CHARACTER.search(text):
        return "invalid_utf8"
    return None


def _usable(
    texts: Iterable[str], options: CleaningOptions
) -> tuple[dict[str, str], str | None, str]:
    """Usable texts by their normal form; the first reason against one and that text."""
    usable: dict[str, str] = {}
    first, bad = None, ""
    for text in map(str.strip, texts):
        reason = fault(text, options)
        if reason is None:
            usable.setdefault(normalise(text), text)
        elif first is None:
            first, bad = reason, text
    return usable, first, bad


def _without_positive(item: Item, query: str, reason: str | None, bad: str) -> Dropped:
    if reason:
        return Dropped(item.row_id, reason, shown("positive", bad))
    if item.positives:
        return Dropped(item.row_id, "query_is_positive", shown("query", query))
    return Dropped(item.row_id, "no_positive")


def _clean_set(item: Item, options: CleaningOptions) -> Item | Dropped:
    members, reason, bad = _usable((item.query, *item.positives), options)
    if len(members) < 2:
        return _without_positive(item, item.query.strip(), reason, bad)
    query, *others = members.values()
    return replace(item, query=query, positives=tuple(others))


def _clean_superni(item: Item, options: CleaningOptions) -> Item | Dropped:
    """An output may be as short as a label; it is never written, only compared and encoded."""
    output = (item.output or "").strip()
    reason = "empty" if not output else _unstorable(output)
    if reason:
        return Dropped(item.row_id, reason, shown("output", output))
    reason = fault(query := item.query.strip(), options)
    if reason:
        return Dropped(item.row_id, reason, shown("input", query))
    return replace(item, query=query, output=output)


def shown(role: str, text: str) -> str:
    """A text as the detail of a dropped row quotes it."""
    return f"{role}: {len(text)} characters, {text[:60]!r}"
