"""When two texts count as the same text: one rule for cleaning, pairing and mining."""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    """NFKC, case folded, runs of white space as one space, none at the ends.

    For comparing only, never for what is written. normalise(normalise(t)) == normalise(t).
    """
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", text).casefold()  # folding can undo the normal form
    return " ".join(unicodedata.normalize("NFKC", folded).split())
