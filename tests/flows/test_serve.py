"""`medi up` and `medi down`: what is started, what is registered, and that nothing is left."""

from __future__ import annotations

import errno
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from artifacts.errors import InputError
from flows import serve, serve_state
from flows.serve_setup import DEPLOYMENTS, LOST_RUNS
from tests.flows.served import MEDI, PREFECT, ROOT, Served, ended, until

DEPLOYED = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]


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
    at.patch(schedule, {"active": True})
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
    state = serve_state.Running(url="http://127.0.0.1:4200/api", ready=True, parts=[], mark="x")
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
    """A process id of the state file may have gone to another program since. A flow run whose
    worker is gone is nobody's child, and known by its environment."""
    sleep = (sys.executable, "-c", "input()")
    marked = os.environ | {serve_state.MARK: "of this one"}
    with (
        subprocess.Popen(sleep, stdin=subprocess.PIPE) as ours,
        subprocess.Popen(sleep, stdin=subprocess.PIPE, env=marked) as flow_run,
        subprocess.Popen(sleep, stdin=subprocess.PIPE) as stranger,
    ):
        worker = serve_state.Part(name="worker", pid=ours.pid, command=list(sleep))
        reused = serve_state.Part(name="server", pid=stranger.pid, command=["prefect", "server"])
        state = serve_state.Running(
            url="http://127.0.0.1:9/api", ready=True, parts=[reused, worker], mark="of this one"
        )
        assert [process.pid for process in state.flow_runs()] == [flow_run.pid]
        serve_state.write_state(state)
        with pytest.raises(InputError, match="`medi down` first"):
            serve.up(4200, detach=False)
        assert serve.down() == 0
        assert ours.wait() != 0 and flow_run.wait() != 0 and stranger.poll() is None
        stranger.communicate(b"\n")
    assert "stopped" in capsys.readouterr().out
    assert serve.down() == 0 and "nothing is running" in capsys.readouterr().out


def test_a_terminal_that_was_closed_stops_no_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`medi up` in it ends, and its server with it."""
    sleep = (sys.executable, "-c", "input()")
    with subprocess.Popen(sleep, stdin=subprocess.PIPE) as ours:
        server = serve_state.Part(name="server", pid=ours.pid, command=list(sleep))
        running = serve_state.Running(
            url="http://127.0.0.1:9/api", ready=True, parts=[server], mark="x"
        )

        class Parts:
            def __init__(self, _: int) -> None:
                self.running = running

            def start(self) -> None:
                raise serve.PartEnded("the worker ended")

        def hung_up(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(serve, "_Parts", Parts)
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        monkeypatch.setattr("builtins.print", hung_up)
        assert serve._serve(4200) == 1
        assert ours.wait() != 0
