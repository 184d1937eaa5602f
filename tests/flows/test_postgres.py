"""Prefect's server on PostgreSQL: the same runs on record, the same artifacts.

Needs Debian's postgresql package. A database server of the test's own listens on 127.0.0.1; its
password is in a file only, as docs/scaling.md has it.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.profiles import get_profile
from tests.flows.served import MEDI, PREFECT, Served
from tests.flows.test_golden import GOLDEN, VERSIONS, digests

Run = Callable[..., subprocess.CompletedProcess[str]]

SAMPLE = ("squad_pairs", "allnli", "task1146_country_capital")
STAGES = ("fetch", "pairs", "mine", "shards")
EVALUATED = get_profile("sample").build.decontamination.tasks
_PASSWORD = "not-on-a-command-line"
_OTHER_USERS = ("postgres", "nobody")  # PostgreSQL refuses to run as root


@dataclass(frozen=True)
class Database:
    """Of one PostgreSQL server."""

    port: int
    passfile: Path

    @property
    def environment(self) -> dict[str, str]:
        """All that a user sets."""
        url = f"postgresql+asyncpg://medi@127.0.0.1:{self.port}/postgres"
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": url,
            "PGPASSFILE": str(self.passfile),
        }

    def rows(self, query: str) -> list[Any]:
        import asyncpg

        async def ask() -> list[Any]:
            url = f"postgresql://medi@127.0.0.1:{self.port}/postgres"
            connection = await asyncpg.connect(url, passfile=str(self.passfile))
            try:
                return list(await connection.fetch(query))
            finally:
                await connection.close()

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    tools = {name: _tool(name) for name in ("initdb", "pg_ctl")}
    if not all(tools.values()):
        pytest.skip("no PostgreSQL here: apt install postgresql")
    with tempfile.TemporaryDirectory(prefix="medi-postgres-") as made:
        folder, as_user = Path(made), []
        if os.geteuid() == 0:
            user = next(name for name in _OTHER_USERS if _exists(name))
            as_user = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}"]
            as_user.append("--clear-groups")
            shutil.chown(folder, user)
        password = folder / "password"
        password.write_text(_PASSWORD, encoding="utf-8")
        password.chmod(0o644)
        data = folder / "data"

        def run(name: str, *arguments: str) -> None:
            command = [*as_user, str(tools[name]), "-D", str(data), *arguments]
            done = subprocess.run(command, cwd=folder, stdout=log, stderr=log, check=False)
            assert done.returncode == 0, (folder / "log").read_text()

        with (folder / "log").open("w") as log:
            run("initdb", "-U", "medi", "--auth=scram-sha-256", f"--pwfile={password}", "--no-sync")
            port = _free_port()
            options = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
            run("pg_ctl", "-w", "-o", options, "start")
            try:
                passfile = folder / "pgpass"
                passfile.write_text(f"127.0.0.1:{port}:*:medi:{_PASSWORD}\n", encoding="utf-8")
                passfile.chmod(0o600)
                yield Database(port, passfile)
            finally:
                run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.mark.long
def test_a_build_is_on_record_and_its_artifacts_are_the_same(
    database: Database, medi: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    store, folder = tmp_path / "store", tmp_path / "medi"
    where = ("--store", str(store), "--publish", str(folder))
    built = medi("build", "--only", *SAMPLE, *where)
    assert built.returncode == 0, built.stderr
    assert {stage: [VERSIONS[stage], digests(store, folder, stage)] for stage in VERSIONS} == GOLDEN

    query = """select t.name, t.state_type::text as state from task_run t
               join flow_run r on t.flow_run_id = r.id join flow f on r.flow_id = f.id
               where f.name = 'build-medi'"""
    runs = [(row["name"], row["state"]) for row in database.rows(query)]
    of_datasets = [f"{stage}: {name}" for stage in STAGES for name in SAMPLE]
    of_tasks = [f"{stage}{name}" for stage in ("fetch: eval-", "texts: ") for name in EVALUATED]
    named = sorted(name for name, _ in runs if ": " in name)
    assert named == sorted([*of_datasets, *of_tasks])
    assert len(runs) == len(named) + 2  # decontaminate and publish
    assert {state for _, state in runs} == {"COMPLETED"}


@pytest.mark.long
def test_medi_up_runs_on_it(database: Database, tmp_path: Path) -> None:
    at = Served(tmp_path / "home")
    at.environment |= database.environment
    try:
        started = at.run(*MEDI, "up", "--detach", "--port", at.port)
        assert started.returncode == 0, started.stderr
        run = ("deployment", "run", "build-medi/default", "--watch", "-p", 'only=["squad_pairs"]')
        where = ("-p", f"store={tmp_path / 'store'}", "-p", f"publish={tmp_path / 'medi'}")
        built = at.run(*PREFECT, *run, *where)
        assert built.returncode == 0, built.stdout + built.stderr
    finally:
        assert at.run(*MEDI, "down").returncode == 0
    assert not list(at.state.parents[1].glob("*.db"))
    (told,) = database.rows("select count(*) from deployment where name = 'default'")
    assert told["count"] == 4
    commands = at.state.parent.glob("*.log")
    assert not any(_PASSWORD in log.read_text(errors="replace") for log in commands)


def _tool(name: str) -> str | None:
    """Debian keeps these out of PATH, in a folder by version."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(found[-1]) if found else None)


def _exists(user: str) -> bool:
    try:
        return pwd.getpwnam(user).pw_uid != 0
    except KeyError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
