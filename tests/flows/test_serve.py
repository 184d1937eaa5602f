"""`medi up` and `medi down`: what is started, what is registered, and that nothing is left."""

from __future__ import annotations

import inspect
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from artifacts.errors import InputError
from flows import serve, serve_state
from flows.serve_setup import DEPLOYMENTS, LOST_RUNS

ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
MEDI = (sys.executable, "-c", "from flows.cli import main; main()")
PREFECT = (sys.executable, "-m", "prefect")


class Served:
    """A Prefect home and a port of a test's own."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = str(probe.getsockname()[1])
        self.state = home / "medi-up" / "state.json"
        self.url = f"http://127.0.0.1:{self.port}/api"
        own = {"PREFECT_HOME": str(home), "PREFECT_API_URL": self.url, "PWD": str(ROOT)}
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDI_")}
        self.environment = kept | own

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    def processes(self) -> list[psutil.Process]:
        """All that was started: medi up, the server, the worker, and what these started."""
        parts = [
            psutil.Process(part["pid"]) for part in json.loads(self.state.read_bytes())["parts"]
        ]
        return parts + [child for part in parts for child in part.children(recursive=True)]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return httpx.post(self.url + path, json=body, timeout=30).raise_for_status().json()

    def deployments(self) -> dict[str, dict[str, Any]]:
        return {one["entrypoint"]: one for one in self.post("/deployments/filter", {})}

    def automations(self) -> dict[str, bool]:
        return {one["name"]: one["enabled"] for one in self.post("/automations/filter", {})}


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not true():
        assert time.monotonic() < deadline, "waited for ten minutes"
        time.sleep(0.2)


def ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    at = Served(tmp_path_factory.mktemp("home"))
    started = at.run(*MEDI, "up", "--detach", "--port", at.port)
    assert started.returncode == 0, started.stderr
    assert "prefect deployment run build-medi/default" in started.stdout
    yield at
    assert at.run(*MEDI, "down").returncode == 0


@pytest.mark.long
def test_a_build_through_the_server_is_a_build(served: Served, tmp_path: Path) -> None:
    run = ("deployment", "run", "build-medi/default", "--watch")
    where = ("-p", f"store={tmp_path / 'store'}", "-p", f"publish={tmp_path / 'medi'}")
    built = served.run(*PREFECT, *run, *where, "-p", 'only=["squad_pairs"]')
    assert built.returncode == 0, built.stdout + built.stderr
    assert len(list(tmp_path.glob("store/shards/squad_pairs/*/manifest.json"))) == 1
    assert (tmp_path / "medi" / "manifest.json").is_file()

    a_file = tmp_path / "file"
    a_file.touch()
    failed = served.run(*PREFECT, *run, *where[:2], "-p", f"publish={a_file}")
    assert failed.returncode == 1 and "'Failed'" in failed.stdout


@pytest.mark.long
def test_a_parameter_of_the_wrong_type_is_refused_before_it_runs(served: Served) -> None:
    run = (*PREFECT, "deployment", "run", "build-medi/default", "-p", 'only="squad_pairs"')
    refused = served.run(*run)
    assert refused.returncode == 1 and "Validation failed for field 'only'" in refused.stdout


@pytest.mark.long
def test_deploying_again_changes_nothing(served: Served) -> None:
    before = {at: one["id"] for at, one in served.deployments().items()}
    assert sorted(before) == sorted(one["entrypoint"] for one in DEPLOYED)
    again = served.run(*PREFECT, "deploy", "--all")
    assert again.returncode == 0, again.stdout + again.stderr
    after = served.deployments()
    assert {at: one["id"] for at, one in after.items()} == before
    schedules = [one for at in after.values() for one in at["schedules"]]
    assert [(one["slug"], one["active"]) for one in schedules] == [("weekly", False)]
    trigger = next(trigger["name"] for one in DEPLOYED for trigger in one.get("triggers", []))
    assert served.automations() == {LOST_RUNS: True, trigger: False}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Served]:
    """One that the test itself puts up and down."""
    at = Served(tmp_path / "home")
    yield at
    at.run(*MEDI, "down")


@pytest.mark.long
def test_nothing_is_left_behind_and_nothing_forgotten(own: Served, tmp_path: Path) -> None:
    """Down in the middle of a build, up again, and a worker that is killed."""
    at = own
    up = (*MEDI, "up", "--port", at.port)
    assert at.run(*up, "--detach").returncode == 0
    twice = at.run(*up)
    assert twice.returncode == 2 and f"up already at http://127.0.0.1:{at.port}" in twice.stderr
    retrain = at.deployments()["flows.retrain.retrain"]
    schedule = f"/deployments/{retrain['id']}/schedules/{retrain['schedules'][0]['id']}"
    httpx.patch(at.url + schedule, json={"active": True}, timeout=30).raise_for_status()
    of = {"store": str(tmp_path / "store"), "out": str(tmp_path / "out")}
    run = at.post(f"/deployments/{retrain['id']}/create_flow_run", {"parameters": of})
    until((tmp_path / "store" / "fetch").is_dir)
    processes = at.processes()
    assert len(processes) >= 4
    assert at.run(*MEDI, "down").returncode == 0
    assert all(ended(process) for process in processes) and not at.state.exists()
    assert "nothing is running" in at.run(*MEDI, "down").stdout

    with subprocess.Popen(
        up, cwd=ROOT, env=at.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as foreground:
        until(lambda: at.state.exists() and json.loads(at.state.read_bytes())["ready"])
        assert at.deployments()["flows.retrain.retrain"]["schedules"][0]["active"]
        runs = at.post("/flow_runs/filter", {})
        assert run["id"] in {one["id"] for one in runs}
        assert not {"RUNNING", "PENDING"} & {one["state_type"] for one in runs}
        processes = at.processes()
        processes[2].kill()
        _, said = foreground.communicate(timeout=120)
    assert foreground.returncode == 1 and b"the worker ended" in said
    assert all(ended(process) for process in processes) and not at.state.exists()


def test_each_deployment_gives_its_flow_what_it_takes() -> None:
    names = []
    for one in DEPLOYED:
        module, _, function = one["entrypoint"].rpartition(".")
        flow = getattr(import_module(module), function)
        inspect.signature(flow.fn).bind(**one["parameters"])
        names.append(f"{flow.name}/{one['name']}")
        assert all(schedule["slug"] for schedule in one.get("schedules", []))
    assert sorted(names) == sorted(DEPLOYMENTS)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    return tmp_path


def test_a_port_in_use_is_refused(home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} is in use .* --port"):
            serve.up(port, detach=True)


def test_a_home_that_cannot_be_made_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("PREFECT_HOME", str(home / "file"))
    with pytest.raises(InputError, match="set PREFECT_HOME to another folder"):
        serve.down()


def test_only_one_is_up_and_it_says_where(home: Path) -> None:
    state = serve_state.Running(url="http://127.0.0.1:4200/api", ready=True, parts=[])
    with serve_state.only_one():
        serve_state.write_state(state)
        with pytest.raises(
            InputError, match=r"up already at http://127\.0\.0\.1:4200: `medi down`"
        ):
            serve.up(4200, detach=False)


def test_a_checkout_without_its_deployments_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "_ROOT", home)
    with pytest.raises(InputError, match=r"no prefect\.yaml in .*: run medi from its checkout"):
        serve.up(4200, detach=False)


def test_what_a_killed_one_left_is_ended_and_strangers_are_not(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A process id of the state file may have gone to another program since."""
    sleep = (sys.executable, "-c", "input()")
    with (
        subprocess.Popen(sleep, stdin=subprocess.PIPE) as ours,
        subprocess.Popen(sleep, stdin=subprocess.PIPE) as stranger,
    ):
        worker = serve_state.Part(name="worker", pid=ours.pid, command=list(sleep))
        reused = serve_state.Part(name="server", pid=stranger.pid, command=["prefect", "server"])
        state = serve_state.Running(
            url="http://127.0.0.1:9/api", ready=True, parts=[reused, worker]
        )
        serve_state.write_state(state)
        with pytest.raises(InputError, match="`medi down` first"):
            serve.up(4200, detach=False)
        assert serve.down() == 0
        assert ours.wait() != 0 and stranger.poll() is None
        stranger.communicate(b"\n")
    assert "stopped" in capsys.readouterr().out
    assert serve.down() == 0 and "nothing is running" in capsys.readouterr().out
