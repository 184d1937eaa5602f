"""build-medi on object storage, from the command line, with Prefect's own results beside it."""

from __future__ import annotations

import filecmp
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.upkeep import run_verify
from tests.object_storage import s3

Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.long

ONLY = ("squad_pairs", "allnli")


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def keep_results_in(basepath: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's own block and settings, as docs/object-storage.md gives them."""
    from prefect.filesystems import RemoteFileSystem
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: server}):  # those of its import may be another's
        RemoteFileSystem(basepath=basepath).save("medi-results", overwrite=True)
    settings = {
        "PREFECT_DEFAULT_RESULT_STORAGE_BLOCK": "remote-file-system/medi-results",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def test_a_second_machine_builds_nothing_and_publishes_the_same_bytes(
    medi: Run, location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    def build(cache: str, store: str) -> tuple[Path, str]:
        monkeypatch.setenv("MEDI_STORE_CACHE", str(tmp_path / cache))
        out = tmp_path / f"medi of {cache}"
        arguments = ("build", "--only", *ONLY, "--store", store, "--publish", str(out))
        done = medi(*arguments, api=server)
        assert done.returncode == 0, done.stderr
        return out, done.stdout

    local, _ = build("local", str(tmp_path / "plain"))
    results = f"{location.rpartition('/')[0]}/results"
    keep_results_in(results, server, monkeypatch)
    first, said = build("a", location)
    assert not said.startswith("0 stages to run")
    second, said = build("b", location)
    assert said.startswith("0 stages to run")
    for other in (first, second):
        assert files(other) == files(local)
        assert filecmp.cmpfiles(local, other, files(local), shallow=False)[1:] == ([], [])
    assert not [*(tmp_path / "b").glob("*/mine/*")]  # only what is published was downloaded
    assert run_verify(location) == 0

    records = s3().find(results.removeprefix("s3://"))
    assert [json.loads(s3().cat_file(path))["failed"] for path in records] == [{}]
