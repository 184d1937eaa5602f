"""A build with a failing dataset, a training and an evaluation, as on a machine with a network
and with secrets in its environment: what they write down, look up and listen on."""

from __future__ import annotations

import json
import os
import pickletools
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.busy_server import serving

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
CANARY = "canary7f3a91"
SECRETS = ("HF_TOKEN", "PREFECT_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
           "AWS_SESSION_TOKEN", "WANDB_API_KEY", "MLFLOW_TRACKING_PASSWORD")  # fmt: skip
# The suite's own precautions: here the product's must do.
NOT_SET = ("HF_HUB_OFFLINE", "DO_NOT_TRACK", "PREFECT_API_URL", "MEDI_STORE", "MEDI_MIRROR")
LOCAL = {"127.0.0.1", "::1", "localhost", "None", ""}
RECORD = """
- name: forbidden_questions
  location: {kind: hub, repository: some/questions, revision: main, files: [q.jsonl]}
  reader: {layout: jsonl_query_pos_neg}
  rows: 10
  count_source: assumed
  symmetric: true
  licence: {spdx: CC0-1.0, commercial: true}
"""
ANNOTATION = """
dataset: forbidden_questions
query:
  domain: woodworking
  text_type: question
  objective: finding questions that ask the same
  tag: Tool questions
  simple: woodworking question
  paraphrases:
    - Represent the question of a carpenter so that the advice for it is found
    - Represent this workshop question by what it wants to know of a tool
"""
PROGRAM = """
import sys
from flows.cli import main
from flows.server import prefect_server

def medi(*arguments):
    sys.argv = ["medi", *arguments]
    try:
        main()
    except SystemExit as ended:
        print("STATUS", arguments[0], ended.code, flush=True)

store = ("--store", "store")
with prefect_server():
    own = ("--sources", "own", "--only", "squad_pairs", "forbidden_questions")
    medi("build", *own, *store, "--publish", "medi")
    fields = ("--steps", "2", "--log-every", "1", "--monitor", "tensorboard")
    medi("train", "--medi", "medi", "--out", "model", *store, *fields)
    medi("evaluate", "model", "--out", "results", *store, "--tasks", "SampleSTS")
"""


class Hub(BaseHTTPRequestHandler):
    """Has the file when medi asks, before the build, and refuses it to the Hub's client."""

    def do_HEAD(self) -> None:
        self.server.requests.append(self.path)  # type: ignore[attr-defined]
        self.send_response(403 if "hf_hub" in self.headers["user-agent"] else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST = do_HEAD

    def log_message(self, format: str, *args: object) -> None:
        pass


@dataclass(frozen=True)
class Ran:
    folder: Path
    stdout: str
    stderr: str
    asked: list[str]  # of the Hub
    listened: set[str]  # addresses

    def sockets(self, what: str) -> set[str]:
        lines = (self.folder / "sockets.jsonl").read_text().splitlines()
        return {found[1] for found in map(json.loads, lines) if found[0] == what}


@pytest.fixture(scope="module")
def hub() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.requests = []  # type: ignore[attr-defined]
    with serving(server):
        yield server


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, hub: ThreadingHTTPServer) -> Ran:
    folder = tmp_path_factory.mktemp("run")
    (folder / "own" / "annotations").mkdir(parents=True)
    (folder / "tmp").mkdir()
    (folder / "own" / "records.yaml").write_text(RECORD)
    (folder / "own" / "annotations" / "forbidden_questions.yaml").write_text(ANNOTATION)
    environment = {name: v for name, v in os.environ.items() if name not in NOT_SET}
    environment |= dict.fromkeys(SECRETS, CANARY)
    environment |= {
        "HF_ENDPOINT": f"http://reader:{CANARY}@127.0.0.1:{hub.server_port}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "security" / "site"), str(ROOT)]),
        "SOCKETS": str(folder / "sockets.jsonl"),
        "HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "prefect"),
        "TMPDIR": str(folder / "tmp"),
        "PREFECT_API_URL": "http://127.0.0.1:9/api",
        "PREFECT_SERVER_API_HOST": "0.0.0.0",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    listened: set[str] = set()
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, listened, done))
    watcher.start()
    stdout, stderr = process.communicate(timeout=900)
    done.set()
    watcher.join()
    statuses = [line.split()[1:] for line in stdout.splitlines() if line.startswith("STATUS")]
    assert statuses == [["build", "1"], ["train", "0"], ["evaluate", "0"]], stderr
    return Ran(folder, stdout, stderr, hub.requests, listened)  # type: ignore[attr-defined]


def _watch(pid: int, listened: set[str], done: threading.Event) -> None:
    """The addresses that a process and its descendants listen on, whatever they are written in."""
    while not done.wait(0.1):
        try:
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                for socket in process.net_connections("inet"):
                    if socket.status == psutil.CONN_LISTEN:
                        listened.add(f"{socket.laddr.ip} {' '.join(process.cmdline())[-90:]}")
        except psutil.Error:
            continue


def test_a_failing_dataset_says_why_without_the_password(ran: Ran) -> None:
    (line,) = [line for line in ran.stderr.splitlines() if " failed: " in line]
    assert "q.jsonl: some/questions does not give it" in line
    assert "HTTP 403" in line and "http://127.0.0.1" in line


def test_no_secret_is_written_down(ran: Ran) -> None:
    said = [name for name in ("stdout", "stderr") if CANARY in getattr(ran, name)]
    files = [path for path in ran.folder.rglob("*") if path.is_file()]
    assert {"prefect.db", "train.log", "log.jsonl", "medi.json"} <= {path.name for path in files}
    found = [path for path in files if CANARY.encode() in path.read_bytes()]
    assert (said, found) == ([], [])


def test_no_pickle_is_left(ran: Ran) -> None:
    """Neither in Prefect's result storage (here switched on) nor in store, model, results."""
    records = [path for path in (ran.folder / "prefect" / "storage").rglob("*") if path.is_file()]
    assert records
    for record in records:
        json.loads(record.read_text())
    kept = [path for path in ran.folder.rglob("*") if path.is_file() and "tmp" not in path.parts]
    assert [path for path in kept if _is_pickle(path)] == []


def _is_pickle(path: Path) -> bool:
    """Of protocol 2 and later, bare or in torch's zip files."""
    head = path.read_bytes()[:2]
    if head == b"PK":
        return True
    if len(head) < 2 or head[0] != 0x80 or head[1] > 5:
        return False
    try:
        return bool(list(pickletools.genops(path.read_bytes())))
    except ValueError:
        return False


def test_nothing_but_this_machine_is_looked_up(ran: Ran) -> None:
    """By Prefect, the Hub's client, datasets, mteb, transformers, DeepSpeed or TensorBoard."""
    assert "127.0.0.1" in ran.sockets("lookup")
    assert ran.sockets("lookup") - LOCAL == set()
    assert all("/some/questions/" in path for path in ran.asked), ran.asked


def test_servers_listen_on_the_loopback_alone(ran: Ran) -> None:
    assert "127.0.0.1" in ran.sockets("bind")
    assert ran.sockets("bind") - LOCAL == set()
    assert {address for address in ran.listened if address.split()[0] not in LOCAL} == set()


def test_a_lookup_would_be_seen(tmp_path: Path) -> None:
    code = "import socket\ntry: socket.getaddrinfo('telemetry.invalid', 443)\nexcept OSError: pass"
    seen = tmp_path / "sockets.jsonl"
    own = {"PYTHONPATH": str(ROOT / "tests" / "security" / "site"), "SOCKETS": str(seen)}
    subprocess.run([sys.executable, "-c", code], env=os.environ | own, check=True)
    assert json.loads(seen.read_text())[:2] == ["lookup", "telemetry.invalid"]
