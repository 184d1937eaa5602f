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

# Reasons that speak against a source. The others (no_positive, query_is_positive, duplicate,
# joined, over_cap, no_partner) are what sound sources have too.
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
        return Dropped(item.row_id, reason, f"query: {_shown(query)}")
    positives, reason, bad = _usable(item.positives, options)
    positives.pop(normalise(query), None)
    if not positives:
        return Dropped(item.row_id, reason or _no_positive(item), _shown(bad))
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


def _no_positive(item: Item) -> str:
    return "query_is_positive" if item.positives else "no_positive"


def _clean_set(item: Item, options: CleaningOptions) -> Item | Dropped:
    members, reason, bad = _usable((item.query, *item.positives), options)
    if len(members) < 2:
        return Dropped(item.row_id, reason or _no_positive(item), _shown(bad))
    query, *others = members.values()
    return replace(item, query=query, positives=tuple(others))


def _clean_superni(item: Item, options: CleaningOptions) -> Item | Dropped:
    """An output may be as short as a label; it is never written, only compared and encoded."""
    output = (item.output or "").strip()
    reason = "empty" if not output else _unstorable(output)
    if reason:
        return Dropped(item.row_id, reason, "output")
    reason = fault(query := item.query.strip(), options)
    if reason:
        return Dropped(item.row_id, reason, f"input: {_shown(query)}")
    return replace(item, query=query, output=output)


def _shown(text: str) -> str:
    return f"{len(text)} characters, {text[:60]!r}" if text else ""
