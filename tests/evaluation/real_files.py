"""The real data folder (MEDI_REAL_DATA), as a mirror that tests/real_mirror.py would lay out."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import pytest

from evaluation.records import EvalTask
from tests.real_mirror import mirrored

DATA = Path(
    os.environ.get("MEDI_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
MODEL = DATA.parent / "models" / "all-MiniLM-L6-v2-fp16"

needs_real_data = pytest.mark.skipif(
    not (DATA / "eval").is_dir(), reason=f"no real data in {DATA} (set MEDI_REAL_DATA)"
)


@lru_cache(maxsize=1)
def mirror() -> dict[str, Path]:
    """Path in the mirror -> the real file."""
    return {path: file for file, path in mirrored(DATA)}


def files_of(task: EvalTask) -> list[Path]:
    assert task.location is not None
    return [mirror()[task.location.mirror_path(file)] for file in task.location.files]
