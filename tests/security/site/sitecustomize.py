"""Put first on PYTHONPATH by tests/security/test_run.py: every Python started then writes each
name it looks up and each address it binds to the file SOCKETS names, a JSON line each."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

_LOOKED_UP = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyname_ex")


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event in _LOOKED_UP:
        said = ["lookup", arguments[0]]
    elif event == "socket.bind" and isinstance(arguments[1], tuple):
        said = ["bind", arguments[1][0]]
    else:
        return
    with Path(os.environ["SOCKETS"]).open("a") as file:
        file.write(json.dumps([str(word) for word in said] + sys.argv[:2]) + "\n")


sys.addaudithook(note)
