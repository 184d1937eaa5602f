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
# `python -m tests.flows.test_golden STORE MEDI` writes the file from such a build.
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


def digests(store: Path, medi: Path, stage: str) -> dict[str, str]:
    """Of the artifacts that the dataset folder `medi` was made from; others may be in the store."""
    keys = keys_of(store, medi)[stage]
    return {name: digest(store / stage / name / key) for name, key in sorted(keys.items())}


def keys_of(store: Path, medi: Path) -> dict[str, dict[str, str]]:
    """stage -> dataset -> key."""

    def inputs(stage: str, key: str) -> dict[str, str]:
        manifest = store / stage / "medi" / key / "manifest.json"
        found: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))["inputs"]
        return found

    told = json.loads((medi / "manifest.json").read_text(encoding="utf-8"))
    keys: dict[str, dict[str, str]] = {"publish": {"medi": told["build"]["key"]}}
    for name, dataset in told["datasets"].items():
        for stage, key in dataset["keys"].items():
            keys.setdefault(stage, {})[name] = key
    keys["decontaminate"] = {"medi": inputs("publish", told["build"]["key"])["leaks"]}
    read = inputs("decontaminate", keys["decontaminate"]["medi"])
    texts = "texts of "
    keys["texts"] = {n.removeprefix(texts): k for n, k in read.items() if n.startswith(texts)}
    return keys


@pytest.mark.parametrize("stage", VERSIONS)
def test_output_is_that_of_its_version(
    stage: str, built: subprocess.CompletedProcess[str], store: Path
) -> None:
    assert built.returncode == 0, built.stderr
    assert [VERSIONS[stage], digests(store, store.parent / "medi", stage)] == GOLDEN[stage]


if __name__ == "__main__":
    here, folder = Path(sys.argv[1]), Path(sys.argv[2])
    new = {stage: [version, digests(here, folder, stage)] for stage, version in VERSIONS.items()}
    Path(__file__).with_name("golden.json").write_text(json.dumps(new, indent=1) + "\n")
