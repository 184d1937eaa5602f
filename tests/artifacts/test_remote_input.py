"""A store that cannot be had: one line, before any work, that holds no secret."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from s3fs import S3FileSystem

from artifacts import remote
from artifacts.errors import InputError
from artifacts.keys import Spec
from artifacts.remote_trouble import StoreError, told
from artifacts.store import Store
from tests.object_storage import moto_server

SPEC = Spec("pairs", "toy", 1, {})
BOOTSTRAP = 4  # requests that make the bucket and the user; later ones need a key


@pytest.fixture(autouse=True)
def fresh(s3_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """fsspec keeps connections, and these tests change what they hang on."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    ("where", "line"),
    [
        ("s4://bucket/medi", "unknown kind of store 's4': give a folder or s3://bucket/prefix"),
        ("file:///tmp/medi", "give the folder itself"),
        ("simplecache::s3://bucket/medi", "give the folder itself"),
        ("s3://", "names no bucket: give s3://bucket/prefix"),
        ("s3://AKID:hush@bucket/medi", "no credentials in an address"),
        ("s3://AKID:hush/hush@bucket/medi", "no credentials in an address"),
        ("s3://hush/hush@bucket/medi", "no credentials in an address: .* a prefix has no '@'"),
        ("abfs://files:hush@account.example/medi", "no credentials in an address"),
        ("abfs://files:hush/hush@account.example/medi", "no credentials in an address"),
        ("abfs://files@account.example/medi", "is not installed"),
        ("s3://nobody-made-it/medi", r"there is no such bucket \(NoSuchBucket\)"),
        ("s3://Not_A_Bucket!/medi", "Invalid|ParamValidation"),
    ],
)
def test_a_location_that_is_none(where: str, line: str) -> None:
    assert "hush" not in refusal(where) and "AKID" not in refusal(where)
    assert refused(where, line)


def refusal(where: str) -> str:
    with pytest.raises(InputError) as caught:
        Store.open(where)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("store ")
    return str(caught.value)


def refused(where: str, line: str) -> bool:
    return re.search(line, refusal(where)) is not None


@pytest.mark.parametrize(
    ("scheme", "hint"), [("s3", r"pip install .* '\.\[s3\]'"), ("gs", "gcsfs")]
)
def test_a_kind_that_is_not_installed(
    scheme: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = sys.modules["fsspec.registry"]  # fsspec hides it behind a view of that name
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(registry._registry, scheme, raising=False)
    assert refused(f"{scheme}://bucket/medi", f"{scheme}:// is not installed: .*{hint}")


def test_nobody_listens(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    S3FileSystem.clear_instance_cache()
    assert refused(location, r"cannot be reached \(EndpointConnectionError\)")


def test_nobody_answers(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        monkeypatch.setattr(remote, "_ANSWER_S", 0.5)
        S3FileSystem.clear_instance_cache()
        assert refused(location, "cannot be reached")


def test_an_endpoint_that_is_none(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    S3FileSystem.clear_instance_cache()
    assert refused(location, "check the endpoint")


def test_no_credentials(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    S3FileSystem.clear_instance_cache()
    assert refused(location, r"no credentials were found \(NoCredentialsError\)")


@pytest.fixture
def guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """A server that checks keys; called, this is the user who may read and not write."""
    with moto_server(tmp_path, INITIAL_NO_AUTH_ACTION_COUNT=str(BOOTSTRAP)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        iam, s3 = (boto3.client(service, endpoint_url=server.url) for service in ("iam", "s3"))
        s3.create_bucket(Bucket="guarded")
        iam.create_user(UserName="reader")
        may = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
        iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        S3FileSystem.clear_instance_cache()

        def as_reader() -> None:
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
            monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
            S3FileSystem.clear_instance_cache()

        yield as_reader


def test_credentials_that_are_wrong_or_may_only_read(
    guarded: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may only read is told so before anything is made that could not be stored."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDHUSH")
    line = refusal("s3://guarded/medi")
    assert "access is denied (InvalidAccessKeyId)" in line and "HUSH" not in line

    guarded()
    store = Store.open("s3://guarded/medi")
    assert store.problem(SPEC) == "never built"

    def make(folder: Path) -> Mapping[str, Any]:
        raise AssertionError("worked for nothing")

    with pytest.raises(StoreError, match=r"access is denied \(AccessDenied\)"):
        store.build(SPEC, make)


def test_a_full_disk_is_not_blamed_on_the_store() -> None:
    with pytest.raises(OSError, match="No space left") as caught, told("s3://bucket/medi"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not isinstance(caught.value, StoreError)


def test_a_cache_that_cannot_be_made(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDI_STORE_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"^MEDI_STORE_CACHE: .* cannot be made: Not a directory$"):
        Store.open(location)


def test_the_command_says_it_in_one_line() -> None:
    command = [sys.executable, "-c", "from flows.cli import main; main()", "plan"]
    done = subprocess.run(
        [*command, "--store", "s3://nobody-made-it/medi"], capture_output=True, text=True
    )
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.splitlines() == [
        "medi: store s3://nobody-made-it/medi: there is no such bucket (NoSuchBucket): make it, "
        "or correct MEDI_STORE or --store"
    ]
