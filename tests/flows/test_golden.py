"""Output may not change under an old VERSION: users' stores would hold two kinds of one key."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from artifacts import shards
from artifacts.keys import canonical_json
from medi_sources import fetch, pairs
from mining import options as mining

# stage -> (VERSION, dataset -> digest of its tables). Raise VERSION when a digest changes.
GOLDEN: dict[str, tuple[int, dict[str, str]]] = json.loads(
    (Path(__file__).parent / "golden.json").read_text(encoding="utf-8")
)
VERSIONS = {
    "fetch": fetch.VERSION,
    "pairs": pairs.VERSION,
    "mine": mining.VERSION,
    "shards": shards.VERSION,
}


def digest(folder: Path) -> str:
    """Of the content, not of the Parquet bytes, which hang on the version of pyarrow."""
    content = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix == ".parquet":
            rows = pq.read_table(path).to_pylist()
            content.update(canonical_json(rows).encode())
        elif path.name != "manifest.json":
            content.update(path.read_bytes())
    return content.hexdigest()[:24]


@pytest.mark.parametrize("stage", VERSIONS)
def test_output_is_that_of_its_version(
    stage: str, built: subprocess.CompletedProcess[str], store: Path
) -> None:
    assert built.returncode == 0, built.stderr
    folders = {path.parent.name: path for path in sorted((store / stage).glob("*/*"))}
    made = {name: digest(path) for name, path in folders.items() if name in GOLDEN[stage][1]}
    assert [VERSIONS[stage], made] == GOLDEN[stage]
