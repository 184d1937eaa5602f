"""Words of others in the markdown of the Prefect UI: shown as they are, never acted on."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from artifacts.errors import without_credentials

# What markdown or HTML could take for more than a character, each of ASCII: a backslash in front
# stops it. (The UI shows character references as they are written.) Digits may have a point between
# them and words a hyphen: the UI searches tables as they are written.
_ACTIVE = re.compile(r"""^-|(?<!\d)\.|\.(?!\d)|[!"#$&()*+/:<>@\[\\\]^_`{|}~;]""")
_UNSEEN = ("Cc", "Cf", "Co", "Cs")  # control, direction and private characters
_CELL = 160  # characters


def plain(text: object, limit: int = _CELL) -> str:
    """One line of at most so many characters, inert in a markdown paragraph, table or link."""
    line = " ".join(str(text).split())
    seen = "".join(char for char in line if unicodedata.category(char) not in _UNSEEN)
    cut = seen if len(seen) <= limit else seen[: limit - 1] + "…"
    return _ACTIVE.sub(r"\\\g<0>", cut)


def link(text: str, url: str) -> str:
    """A link, where `url` is one of http or https; else its words.

    Of `text` letters, digits and `_.-` stay: the UI shows a backslash within a link.
    """
    url = without_credentials(url)
    if not url.startswith(("https://", "http://")):
        return plain(url, limit=300)
    words = re.sub(r"[^A-Za-z0-9_.-]+", " ", text).strip() or "link"
    return f"[{words}](<{quote(url, safe=':/?&=%#+,@;~-._')}>)"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A markdown table of cells that are markdown already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
