"""`medi up` and `medi down`: a Prefect server, a worker and all deployments, on this machine.

The parts are Prefect's own commands, started in the checkout, where prefect.toml and prefect.yaml
are. Each has a session of its own: Ctrl-C meets `medi up`, which ends them in order.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import httpx

from artifacts.errors import InputError
from flows import serve_state as state
from flows.database import require_database
from flows.serve_setup import POOL, Server
from flows.server import answers, require_version

PORT = 4200
_ROOT = Path(__file__).resolve().parents[1]
_READY_S = 300
_DOWN_S = 240
_STOPPED = "medi was stopped. Run it again: it goes on from what is in the store."


class PartEnded(RuntimeError):
    """A part ended, or did not begin."""


class _StopAsked(Exception):
    """By Ctrl-C or `medi down`."""


def up(port: int, detach: bool) -> int:
    """Exit status: 0 after Ctrl-C or `medi down`, 1 when a part ended by itself.

    Raises InputError where medi is up already, the port is taken, the database cannot be used, or
    this is no checkout.
    """
    if not (_ROOT / "prefect.yaml").is_file():
        raise InputError(f"no prefect.yaml in {_ROOT}: run medi from its checkout")
    with state.only_one():
        _require_free(port)
        require_database()
        if not detach:
            return _serve(port)
    return _detached(port)


def down() -> int:
    """End what `medi up` started, whole or what is left of it; exit status 0."""
    running = state.read_state()
    if running is None or not running.alive:
        state.forget()
        print("nothing is running: `medi up` starts it")
        return 0
    supervisor = running.part("medi up")
    if supervisor:
        supervisor.terminate()
        deadline = time.monotonic() + _DOWN_S
        while running.part("medi up") and time.monotonic() < deadline:
            time.sleep(0.2)
    left = state.read_state() or running
    if left.alive:
        _end_all(left)
    print(f"stopped: {running.url.removesuffix('/api')}")
    return 0


def _serve(port: int) -> int:
    """Start all parts and stay until a signal or until one of them ends."""
    parts = _Parts(port)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: parts.ask_to_stop())
    status = 0
    try:
        parts.start()
        _say(_told(port))
        parts.watch()
    except _StopAsked:
        _say("stopping")
    except (PartEnded, httpx.HTTPError) as error:
        _say(f"medi: {error}", sys.stderr)
        status = 1
    finally:
        _end_all(parts.running)
    return status


class _Parts:
    """The processes of one `medi up`, in the order of their start."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api"
        # The setting rather than --port: the UI that it serves then calls the right address.
        mark = uuid4().hex
        self._environment = os.environ | {
            state.MARK: mark,
            "PREFECT_API_URL": self._url,
            "PREFECT_SERVER_API_HOST": "127.0.0.1",
            "PREFECT_SERVER_API_PORT": str(port),
            "DO_NOT_TRACK": "1",
            "PWD": str(_ROOT),
        }
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._stop_asked = False
        own = state.Part(name="medi up", pid=os.getpid(), command=state.own_command())
        self.running = state.Running(url=self._url, ready=False, parts=[own], mark=mark)
        state.write_state(self.running)

    def start(self) -> None:
        """Raises PartEnded for a part that ends, or is not ready in time, and InputError for a
        server that wants a password which is not set.
        """
        self._start("server", "server", "start")
        self._wait("the server answers", lambda: answers(self._url, patience_s=2))
        require_version(self._url)
        server = Server(self._url)
        worker = ("worker", "start", "--pool", POOL, "--type", "process", "--name", POOL)
        began = datetime.now(UTC)
        self._start("worker", *worker)
        self._wait("the work pool is there", server.has_pool)
        self._deploy(server)
        server.watch_heartbeats()
        server.limit_pool(1)
        server.run_in_one_process(sys.executable)
        self._wait("the worker is online", lambda: server.has_worker(began))
        self._know(ready=True)

    def _deploy(self, server: Server) -> None:
        before = server.switches()
        try:
            deploy = self._popen("deploy", "--no-prompt", "deploy", "--all")
            self._wait("the deployments are there", lambda: deploy.poll() is not None, deploy)
            if deploy.returncode or server.missing_deployments():
                raise PartEnded(f"prefect deploy --all failed: {_tail('deploy')}")
        finally:
            server.switch_on(before)

    def watch(self) -> None:
        """Raises PartEnded for the first part that ends, and what a signal asks for."""
        while True:
            self._go_on()
            time.sleep(0.5)

    def ask_to_stop(self) -> None:
        """A mark, not an exception: none may cut a start short before it is written down."""
        self._stop_asked = True

    def _start(self, name: str, *command: str) -> None:
        process = self._popen(name, *command)
        self._started[name] = process
        part = state.Part(name=name, pid=process.pid, command=_prefect(*command))
        self._know(parts=[*self.running.parts, part])

    def _popen(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with _log(name).open("wb") as out:
            return subprocess.Popen(
                _prefect(*command),
                cwd=_ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def _know(self, **changed: Any) -> None:
        self.running = self.running.model_copy(update=changed)
        state.write_state(self.running)

    def _wait(
        self, what: str, done: Callable[[], bool], extra: subprocess.Popen[bytes] | None = None
    ) -> None:
        deadline = time.monotonic() + _READY_S
        try:
            while not done():
                self._go_on()
                if time.monotonic() > deadline:
                    raise PartEnded(f"{_READY_S} s, and not yet true: {what}; logs: {_logs()}")
                time.sleep(0.2)
        finally:
            if extra and extra.poll() is None:
                extra.kill()
                extra.wait()

    def _go_on(self) -> None:
        """Raises where a part is gone, or somebody asked to stop."""
        if self._stop_asked:
            raise _StopAsked
        for name, process in self._started.items():
            if process.poll() is not None:
                raise PartEnded(
                    f"the {name} ended with status {process.returncode}, so the rest is stopped; "
                    f"its log {_log(name)} ends: {_tail(name)}"
                )


def _end_all(running: state.Running) -> None:
    """End the worker, its flow runs and the server, in this order, and forget them."""
    worker = running.part("worker")
    if worker:
        state.end([worker])
    state.end(running.flow_runs(), grace_s=5)
    if answers(running.url):
        try:
            ended = Server(running.url).crash_running(_STOPPED)
            if ended:
                _say(f"{ended} flow runs were ended: run them again, they go on from the store")
        except httpx.HTTPError as error:
            _say(f"medi: runs are left as they were: {error}", sys.stderr)
    server = running.part("server")
    if server:
        state.end([server, *state.descendants(server)])
    state.forget()


def _say(line: str, file: TextIO | None = None) -> None:
    with suppress(OSError):  # the terminal may have been closed: that, too, ends `medi up`
        print(line, file=file, flush=True)


def _detached(port: int) -> int:
    """Start `medi up` in a session of its own, and return when it is ready."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", "up"]
    with _log("up").open("wb") as out:
        child = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        while child.poll() is None:
            running = state.read_state()
            if running and running.ready and running.parts[0].pid == child.pid:
                print(_told(port))
                return 0
            time.sleep(0.2)
    except KeyboardInterrupt:
        child.terminate()
        child.wait()
        raise
    print(_log("up").read_text(errors="replace").strip(), file=sys.stderr)
    return child.returncode or 1


def _prefect(*command: str) -> list[str]:
    return [sys.executable, "-m", "prefect", *command]


def _told(port: int) -> str:
    prefix = "" if port == PORT else f"PREFECT_API_URL=http://127.0.0.1:{port}/api "
    return (
        f"UI:    http://127.0.0.1:{port}\n"
        f"build: {prefix}prefect deployment run build-medi/default --watch\n"
        f"logs:  {_logs()}\n"
        "end:   medi down"
    )


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is in use by another program: stop it" if taken else f"cannot be used: {error}"
            raise InputError(f"port {port} {why}, or give --port with a free one") from error


def _logs() -> Path:
    return state.folder()


def _log(name: str) -> Path:
    return state.folder() / f"{name}.log"


def _tail(name: str) -> str:
    return " | ".join(_log(name).read_text(errors="replace").split("\n")[-4:]).strip(" |")
