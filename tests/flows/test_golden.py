"""Output may not change under an old VERSION: users' stores would hold two kinds of one key."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from artifacts import publish, shards
from artifacts.keys import canonical_json
from evaluation import texts
from medi_sources import fetch, leaks, pairs
from mining import options as mining
from tasks import sample

# stage -> (VERSION, dataset -> digest of its files). Raise VERSION when a digest changes; then
# `python -m tests.flows.test_golden STORE` writes the file from a store with such a build.
GOLDEN: dict[str, tuple[Any, dict[str, str]]] = json.loads(
    (Path(__file__).parent / "golden.json").read_text(encoding="utf-8")
)
VERSIONS: dict[str, Any] = {
    "fetch": [fetch.VERSION, sample.VERSION],  # what is fetched is the sample's world
    "pairs": pairs.VERSION,
    "mine": mining.VERSION,
    "shards": shards.VERSION,
    "texts": texts.VERSION,
    "decontaminate": leaks.VERSION,
    "publish": publish.VERSION,
}


def digest(folder: Path) -> str:
    """Of the content, not of the Parquet bytes, which hang on the version of pyarrow."""
    content = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            content.update(_published(path))
        elif path.suffix == ".parquet":
            rows = pq.read_table(path).to_pylist()
            content.update(canonical_json(rows).encode())
        elif path.name != "manifest.json":
            content.update(path.read_bytes())
    return content.hexdigest()[:24]


def _published(folder: Path) -> bytes:
    """What people read of the dataset folder, without the one line that has the build's key."""
    names = ("README.md", "ledger.csv", "leaks.csv", "task_ids.json")
    lines = [line for name in names for line in (folder / name).read_text().splitlines()]
    return "\n".join(line for line in lines if not line.startswith("| key |")).encode()


def digests(store: Path, stage: str) -> dict[str, str]:
    """Of the datasets that golden.json names, or of all where it does not name the stage."""
    folders = {path.parent.name: path for path in sorted((store / stage).glob("*/*"))}
    names = GOLDEN[stage][1] if stage in GOLDEN else folders
    return {name: digest(folders[name]) for name in sorted(names)}


@pytest.mark.parametrize("stage", VERSIONS)
def test_output_is_that_of_its_version(
    stage: str, built: subprocess.CompletedProcess[str], store: Path
) -> None:
    assert built.returncode == 0, built.stderr
    assert [VERSIONS[stage], digests(store, stage)] == GOLDEN[stage]


if __name__ == "__main__":
    new = {
        stage: [version, digests(Path(sys.argv[1]), stage)] for stage, version in VERSIONS.items()
    }
    Path(__file__).with_name("golden.json").write_text(json.dumps(new, indent=1) + "\n")
