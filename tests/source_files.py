"""Records and files of one invented source, for the tests of reading."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

from medi_sources.readers import Dropped, Item, read
from medi_sources.records import Source


def source(layout: str, **roles: Any) -> Source:
    return Source.model_validate(
        {
            "name": "birds",
            "location": {"kind": "github", "repository": "a/b", "revision": "1", "files": ["f"]},
            "reader": {"layout": layout, **roles},
            "rows": 10,
            "count_source": "assumed",
            "symmetric": False,
            "licence": {"spdx": "MIT"},
        }
    )


def rows(layout: str, *files: Path, **roles: Any) -> list[Item | Dropped]:
    return list(read(source(layout, **roles), files))


def file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    return path
