"""Names that lead out of their folder, and URLs with a password, are refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import ValidationError

from artifacts.diff import open_published
from artifacts.errors import DatasetError, InputError
from artifacts.keys import Spec
from artifacts.location import GitHubFiles, HubFiles, LocalFiles, WebFiles
from artifacts.manifest import read_manifest, write_manifest
from artifacts.models import resolve_model
from artifacts.store import Store
from evaluation.records import EvalTask
from medi_sources.available import unavailable
from medi_sources.download import RefusedError, download
from medi_sources.fetch import fetch, local_names
from tests.busy_server import serving
from tests.source_files import source

OUTSIDE = ["../x", "a/../../x", "/etc/x", "a//x", "./x", "", "a\0b"]
PASSWORD = "canary7f3a91"


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_manifest_that_names_a_file_outside_is_no_manifest(tmp_path: Path, name: str) -> None:
    """Its artifact counts as broken and is made again; the file is not looked at."""
    store, spec = Store(tmp_path / "store"), Spec("stage", "toy", 1, {})

    def make(folder: Path) -> dict[str, int]:
        (folder / "x").write_text("content")
        return {}

    artifact, _ = store.build(spec, make)
    entry = artifact.manifest.files["x"]
    write_manifest(artifact.manifest.model_copy(update={"files": {name: entry}}), artifact.folder)
    with pytest.raises(ValueError, match="cannot be read"):
        read_manifest(artifact.folder)
    assert store.find(spec) is None
    assert [wrong for _, wrong in store.verify()] == ["manifest.json cannot be read"]
    remade, made = store.build(spec, make)
    assert made and list(remade.manifest.files) == ["x"]


def test_a_published_manifest_that_names_a_file_outside_is_refused(tmp_path: Path) -> None:
    entry = {"size": 1, "sha256": "0"}
    dataset = {"rows": 1, "keys": {}, "environment": {}, "files": {"../../x.parquet": entry}}
    content = {"build": {}, "datasets": {"toy": dataset}}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="is not the manifest of a MEDI folder"):
        open_published(tmp_path)


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "x\n", "x\0", "x" * 121])
def test_a_dataset_is_named_by_a_plain_name(name: str) -> None:
    with pytest.raises(ValidationError):
        type(source("jsonl_list")).model_validate(
            source("jsonl_list").model_dump(mode="json") | {"name": name}
        )


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "x\n"])
def test_an_evaluation_task_is_named_by_a_plain_name(name: str) -> None:
    task = {"category": "STS", "mteb": {"a/b": "1"}, "metric": "accuracy", "characters": 1,
            "licence": "MIT"}  # fmt: skip
    EvalTask.model_validate(task | {"name": "x"})
    with pytest.raises(ValidationError):
        EvalTask.model_validate(task | {"name": name})


@pytest.mark.parametrize("file", ["../x", "a/../../x", "/etc/x"])
def test_a_record_names_files_inside_its_repository(file: str) -> None:
    for kind in (HubFiles, GitHubFiles):
        with pytest.raises(ValidationError, match="leaves its repository"):
            kind(repository="a/b", revision="1", files=(file,))
    with pytest.raises(ValidationError, match="not a file below the folder"):
        LocalFiles(files=(file,))
    with pytest.raises(ValidationError, match="https URL"):
        WebFiles(files=(f"https://host/../{file}",))


@pytest.mark.parametrize("name", ["../b", "a/..", "a/b/c"])
def test_a_repository_is_an_owner_and_a_name(name: str) -> None:
    for kind in (HubFiles, GitHubFiles):
        with pytest.raises(ValidationError):
            kind(repository=name, revision="1", files=("x",))


@pytest.mark.parametrize("member", ["../../x", "/etc/x", "a\\..\\x"])
def test_a_member_of_an_archive_is_written_into_the_artifact(tmp_path: Path, member: str) -> None:
    """Whatever it is called: `..` is no part of the name that it gets."""
    import zipfile

    folder, out = tmp_path / "mirror" / "github.com" / "a" / "b", tmp_path / "deep" / "er" / "out"
    folder.mkdir(parents=True)
    out.mkdir(parents=True)
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(member, "content")
    location = GitHubFiles.model_construct(
        repository="a/b", revision="1", files=(f"a.zip::{member}",), sha256=()
    )
    before = set(tmp_path.rglob("*"))
    fetch(location, out, tmp_path / "mirror")
    assert set(tmp_path.rglob("*")) - before == {out / local_names(location)[0]}
    assert (out / local_names(location)[0]).read_text() == "content"


@pytest.mark.parametrize("name", ["../..", "a/..", "./x", "a/b\n"])
def test_a_model_of_the_hub_is_an_owner_and_a_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"not a Hub name|neither modules\.json"):
        resolve_model(name, tmp_path)


def test_a_record_holds_no_password() -> None:
    """What a record says is written into keys, manifests, card and ledger."""
    url = f"https://reader:{PASSWORD}@host.org/data.jsonl"
    with pytest.raises(ValidationError) as caught:
        WebFiles(files=(url,))
    (fault,) = caught.value.errors(include_url=False)
    assert "user or password in front of its host" in fault["msg"]
    assert PASSWORD not in fault["msg"] and "https://host.org/data.jsonl" in fault["msg"]


@pytest.mark.parametrize("kind", [InputError, DatasetError, RefusedError])
def test_an_error_says_a_url_without_its_password(kind: type[Exception]) -> None:
    said = str(
        kind(f"https://reader:{PASSWORD}@host.org:80/a@b: HTTP 404, {{https://host.org/@x}}")
    )
    assert said == "https://host.org:80/a@b: HTTP 404, {https://host.org/@x}"


@pytest.mark.parametrize("secret", ["se/cret", "se/cret@more", "/secret"])
def test_a_secret_with_a_slash_is_not_said(secret: str) -> None:
    said = str(InputError(f"store s3://AKID:{secret}@bucket/x y@z: bad"))
    assert said == "store s3://bucket/x y@z: bad"


def test_a_hub_that_is_silent_is_named_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(HubFiles, "url", lambda _, file: f"http://u:{PASSWORD}@127.0.0.1:9/{file}")
    monkeypatch.setattr("medi_sources.hub.offline", lambda: False)
    location = HubFiles(repository="no/where", revision="main", files=("x.jsonl",))
    ((_, reason),) = unavailable([("toy", location)], None)
    assert "127.0.0.1:9 cannot be reached" in reason
    assert PASSWORD not in str(InputError(reason))


class Signed(BaseHTTPRequestHandler):
    """Redirects to a signed address, which states no length."""

    def do_GET(self) -> None:
        self.send_response(200 if "signature" in self.path else 302)
        if "signature" not in self.path:
            self.send_header("location", f"/bucket/x?signature={PASSWORD}")
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def signed() -> Iterator[str]:
    with serving(HTTPServer(("127.0.0.1", 0), Signed)) as server:
        yield f"http://127.0.0.1:{server.server_port}/x"


def test_where_a_redirect_leads_is_said_without_its_signature(signed: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="/bucket/x: its host states no length") as caught:
        download(signed, tmp_path / "x")
    assert PASSWORD not in str(caught.value)
