"""What tests/chaos.py does to a store: commands run and killed, files damaged, digests compared."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from artifacts.store import MANIFEST, Store, broken

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ("squad_pairs", "allnli", "task1146_country_capital")
TASKS = ("SampleSTS", "SampleRetrieval")
STEPS = ("--steps", "3", "--log-every", "1", "--checkpoint-every", "1")
PHASES = ("build", "train", "evaluate")
STAGES = {  # what each command makes; the sample world stays, it takes longest
    "build": ("fetch", "pairs", "mine", "shards", "embeddings", "texts", "decontaminate",
              "publish"),
    "train": ("tokens", "plan", "train"),
    "evaluate": ("evaluate", "vectors"),
}  # fmt: skip
# Which texts share a batch hangs on what was there: other vectors by float noise, no other result.
_NOISY = ("embeddings", "vectors")
_END_S = 900
_GONE_S = 90


class Loss(Exception):
    """Something is not as the undisturbed run left it."""


@dataclass(frozen=True)
class Work:
    """One store and the three folders that the commands deliver."""

    folder: Path
    suffix: str = ""
    at: Path | None = None

    @property
    def store(self) -> Path:
        return self.at or self.folder / "store"

    @property
    def log(self) -> Path:
        return self.folder / f"log{self.suffix}"

    def out(self, phase: str) -> Path:
        """Named as the model of the results is, in every round."""
        names = {"build": "medi", "train": "model", "evaluate": "results"}
        return self.folder / f"out{self.suffix}" / names[phase]

    def arguments(self, phase: str) -> list[str]:
        medi, model, results = (str(self.out(each)) for each in PHASES)
        first = {
            "build": ["build", "--publish", medi, "--only", *SAMPLE],
            "train": ["train", "--medi", medi, "--out", model, *STEPS],
            "evaluate": ["evaluate", model, "--out", results, "--tasks", *TASKS],
        }
        return [*first[phase], "--store", str(self.store)]

    def last_line(self) -> str:
        """Of its log, the one that tells of a failure where there is one."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = [line for line in lines if line.startswith("medi: ")]
        return (told or lines or ["it said nothing"])[-1]

    def said(self) -> str:
        """How the command that just ended told of its failure."""
        text = self.log.read_text(encoding="utf-8", errors="replace")
        kind = "with a traceback" if "Traceback" in text else "saying"
        return f"{kind}: {self.last_line()[:200]}" if text.strip() else ""


def run(work: Work, phase: str, **environment: str) -> subprocess.Popen[bytes]:
    """`medi` as a user starts it, in a session of its own."""
    work.folder.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(ROOT / "tests" / "chaos_site"), str(ROOT)])
    given = os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"} | environment
    code = "from flows.cli import main; main()"
    with work.log.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, *work.arguments(phase)],
            cwd=ROOT,
            env=given,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def wait(process: subprocess.Popen[bytes]) -> int:
    """Its exit status. Raises Loss where it does not end, or leaves processes behind."""
    try:
        status = process.wait(timeout=_END_S)
    except subprocess.TimeoutExpired:
        _end(process)
        raise Loss(f"did not end within {_END_S} s") from None
    deadline = time.monotonic() + _GONE_S
    while left := _of_session(process.pid):
        if time.monotonic() > deadline:
            _end(process)
            raise Loss(f"left processes behind: {left}")
        time.sleep(0.1)
    return status


def kill(process: subprocess.Popen[bytes], moment: float, whole: bool, draw: random.Random) -> str:
    """kill -9 after `moment` seconds, of its process group or of one of its children."""
    try:
        return f"ended with {process.wait(timeout=moment)} before {moment:.1f} s"
    except subprocess.TimeoutExpired:
        pass
    children = [pid for pid in _of_session(process.pid) if pid != process.pid]
    if whole or not children:
        os.killpg(process.pid, signal.SIGKILL)
        what = f"the group ({len(children)} children)"
    else:
        child = draw.choice(children)
        what = f"{_name(child)}, one of {len(children)} children,"
        _kill(child)
    return f"{what} at {moment:.1f} s, exit {wait(process)}"


def damage(work: Work, kind: str, draw: random.Random) -> str:
    """Flip a bit of, or cut, one to three files of the store; `rot` leaves no time of change."""
    done = []
    for _ in range(draw.randint(1, 3)):
        stage = draw.choice(sorted(p for p in work.store.iterdir() if p.name[0] != "."))
        file = draw.choice(sorted(p for p in stage.rglob("*") if p.is_file()))
        content, stat = bytearray(file.read_bytes()), file.stat()
        place = draw.randrange(len(content)) if content else 0
        if kind == "cut" or not content:
            del content[place:]
        else:
            content[place] ^= 1 << draw.randrange(8)
        file.unlink()  # it is a hard link to the undisturbed one
        file.write_bytes(content)
        if kind == "rot":
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        done.append(f"{file.relative_to(work.store)} at {place}")
    if kind == "rot" and not Store(work.store).verify():
        raise Loss(f"medi verify does not see {', '.join(done)}")
    return ", ".join(done)


def digests(work: Work) -> dict[str, str]:
    """sha256 of every file that the results hang on, by its place; of the rest the scores."""
    found: dict[str, str] = {}
    for path in sorted(work.store.glob("*/*/*/**/*")):
        stage, *_ = place = path.relative_to(work.store).parts
        if path.is_file() and not stage.startswith(".") and stage not in _NOISY:
            # An evaluation also counts how many texts were encoded and how many found.
            timeless = (stage, path.name) != ("evaluate", MANIFEST)
            found["/".join(place)] = _sha256(path) if timeless else _score(path)
        elif stage in _NOISY and path.name == MANIFEST:
            found["/".join(place)] = "is there"
    for phase in PHASES:
        out = work.out(phase)
        for path in sorted(out.rglob("*")):
            if path.is_file() and path.name != "report.html":  # that tells those counts, too
                found[f"{phase}:{path.relative_to(out)}"] = _sha256(path)
    return found


def compare(work: Work, wanted: dict[str, str], damaged: bool) -> set[str]:
    """The stages of artifacts that are broken and seen to be so: none but in a damaged store.

    Raises Loss for any other difference.
    """
    artifacts = list(Store(work.store).artifacts())
    noticed = {path for path in artifacts if broken(path, deep=False)}
    for path in artifacts:
        if path not in noticed and (wrong := broken(path, deep=True)):
            raise Loss(f"{path} is taken for whole: {wrong}")
    spared = tuple(f"{path.relative_to(work.store)}/" for path in noticed if damaged)
    found = digests(work)
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name) and not name.startswith(spared):
            kind = "differs" if name in found and name in wanted else "is new or gone"
            raise Loss(f"{name} {kind}")
    return {path.parts[-3] for path in noticed} - set(_NOISY)


def _score(manifest: Path) -> str:
    return str(json.loads(manifest.read_bytes())["counts"]["score"])


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _of_session(session: int) -> list[int]:
    """The living processes of a session, the kernel's word for it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of) == session and state != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def _name(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "a process"
    text = b" ".join(words[1:4]).decode(errors="replace")
    return next((word for word in ("training.program", "deepspeed", "prefect") if word in text),
                "a process")  # fmt: skip


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    for pid in _of_session(process.pid):
        _kill(pid)
    process.wait()
