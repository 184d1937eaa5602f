"""A headless Chromium that a program leads: pages opened, pictures taken, requests noted.

Over the DevTools protocol, since only that tells what a page asks for apart from what the browser
itself does.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE_S = 120.0
_WORKERS = {"autoAttach": True, "waitForDebuggerOnStart": True, "flatten": True}


class Page:
    """One tab. `requests` are the URLs that its pages and their workers asked for so far."""

    def __init__(self, socket: ClientConnection, width: int, height: int) -> None:
        self.requests: list[str] = []
        self._socket = socket
        self._number = 0
        self._session: str | None = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        self._call("Page.enable")
        self._call("Network.enable")
        self._call("Target.setAutoAttach", **_WORKERS)
        light = [{"name": "prefers-color-scheme", "value": "light"}]
        self._call("Emulation.setEmulatedMedia", features=light)
        self.resize(width, height)

    def resize(self, width: int, height: int) -> None:
        window = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **window)

    def open(self, url: str, shows: str) -> None:
        """Open `url` and wait until the text `shows` is on the page and all pictures are there."""
        self._call("Page.navigate", url=url)
        there = (
            f"document.body.innerText.includes({json.dumps(shows)}) && "
            "[...document.images].every(one => one.complete)"
        )
        deadline = time.monotonic() + _PATIENCE_S
        while not self.value(there):
            assert time.monotonic() < deadline, f"{url} does not show {shows!r}"
            time.sleep(0.2)

    def click(self, label: str) -> None:
        """Click what has just these words."""
        named = f"one => one.innerText && one.innerText.trim() === {json.dumps(label)}"
        clicked = self.value(
            f"(found => found && (found.click(), true))([...document.querySelectorAll("
            f"'button, a, [role=tab], li')].find({named}))"
        )
        assert clicked, f"nothing to click is called {label!r}"

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page; None where it throws."""
        told = self._call("Runtime.evaluate", expression=expression, returnByValue=True)
        return told["result"].get("value")

    def picture(self, path: Path, settle: float = 1.5) -> None:
        """A PNG of the window, `settle` seconds from now: pages move what they show into place."""
        deadline = time.monotonic() + settle
        while time.monotonic() < deadline:
            self.value("0")
            time.sleep(0.1)
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot")["data"]))

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = self._send(method, self._session, parameters)
        while True:
            told = json.loads(self._socket.recv(timeout=_PATIENCE_S))
            if told.get("id") == number:
                assert "error" not in told, f"{method}: {told['error']}"
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def _send(self, method: str, session: str | None, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        return self._number

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(told["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(told["url"])
            case "Target.attachedToTarget" if self._session:
                for method in ("Network.enable", "Runtime.runIfWaitingForDebugger"):
                    self._send(method, told["sessionId"], {})


@contextmanager
def chromium(folder: Path, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """A browser with its profile in `folder`; it is gone afterwards."""
    assert CHROMIUM is not None, "no Chromium on PATH (Debian: apt-get install chromium)"
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
        f"--user-data-dir={folder}", "about:blank",
    ]  # fmt: skip
    with (folder / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with connect(_address(folder, process), max_size=None) as socket:
            yield Page(socket, width, height)
            socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
            process.wait(timeout=30)
    finally:
        process.kill()
        process.wait()


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    told = folder / "DevToolsActivePort"
    deadline = time.monotonic() + _PATIENCE_S
    while not (told.is_file() and len(told.read_text().split()) == 2):
        assert process.poll() is None and time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.1)
    port, path = told.read_text().split()
    return f"ws://127.0.0.1:{port}{path}"
