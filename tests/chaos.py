"""Chaos: build, train and evaluate a small sample, disturbed at random; nothing may be lost.

    python -m tests.chaos --rounds 200 --seed 1 --work DIR

First all three commands run undisturbed. Then each round starts from that store, less what some
command makes, disturbs this command, runs all three to their end, and compares every digest with
the undisturbed one. Disturbances: kill -9 of the process group or of one child, flipped bits and
cut files (also such that no time of change tells), a full disk, a store that may not be written
to, two commands at once, a clock set back. A line a round; exit status 1 where one was a loss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from flows.server import prefect_server
from tests.chaos_run import PHASES, STAGES, Loss, Work, compare, damage, digests, kill, run, wait

_DAMAGES = ("flip", "cut", "rot")
_KINDS = (
    "kill the group",
    "kill the group",
    "kill a child",
    "kill a child",
    *_DAMAGES,
    "ENOSPC",
    "FSIZE",
    "EACCES",
    "two at once",
    "clock",
)
_YEARS = 5 * 365 * 86_400


class Chaos:
    """The undisturbed run in `folder`/undisturbed, and rounds against it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.first = Work(folder / "undisturbed")
        # Port 9 is nobody's: the command starts one.
        home = str(folder / "prefect-own")
        self.own_server = {"PREFECT_API_URL": "http://127.0.0.1:9/api", "PREFECT_HOME": home}
        self.seconds: dict[str, float] = {}
        self.writes: dict[str, int] = {}  # of the process of a command that writes most
        self.wanted: dict[str, str] = {}

    def undisturbed(self) -> None:
        """Run, or found where `folder` holds one already."""
        record = self.folder / "undisturbed.json"
        if record.is_file():
            told = json.loads(record.read_text(encoding="utf-8"))
            self.seconds, self.writes = told["seconds"], told["writes"]
            self.wanted = told["digests"]
            return
        shutil.rmtree(self.first.folder, ignore_errors=True)
        for phase in PHASES:
            start, counts = time.monotonic(), self.folder / f"writes-{phase}"
            self._must_end_well(self.first, phase, CHAOS=f"COUNT:{counts}:{self.first.store}")
            self.seconds[phase] = time.monotonic() - start
            self.writes[phase] = max(map(int, counts.read_text().split()))
        self.wanted = digests(self.first)
        told = {"seconds": self.seconds, "writes": self.writes, "digests": self.wanted}
        record.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")

    def round(self, number: int) -> tuple[str, str]:
        """One disturbance and all commands after it: (what was done, the outcome). Raises Loss."""
        draw = random.Random(f"{self.seed}/{number}")
        phase, kind = draw.choice(PHASES), draw.choice(_KINDS)
        work = Work(self.folder / f"round-{number}")
        done = f"{kind} in {phase}, {self._prepare(work, phase, draw)}"
        try:
            done += f": {self._disturb(kind, work, phase, draw)}"
            begin = time.monotonic()
            for each in PHASES:
                self._must_end_well(work, each)
            noticed = compare(work, self.wanted, damaged=kind in _DAMAGES)
            if noticed:  # broken and seen to be, but nothing that ran has read it
                self._make_again(work, noticed)
        except Loss as loss:
            raise Loss(f"{done}: {loss}") from None
        shutil.rmtree(work.folder)
        return done, f"all digests equal after {time.monotonic() - begin:.0f} s more"

    def _prepare(self, work: Work, phase: str, draw: random.Random) -> str:
        """The undisturbed store without what `phase` made; at times without the later ones, too."""
        shutil.rmtree(work.folder, ignore_errors=True)
        place = PHASES.index(phase)
        later = PHASES[place + 1 :] if draw.random() < 0.25 else ()
        stages = {stage for each in (phase, *later) for stage in STAGES[each]}
        for path in sorted(self.first.store.iterdir()):
            if not path.name.startswith(".") and path.name not in stages:
                shutil.copytree(path, work.store / path.name, copy_function=os.link)
        for each in PHASES[:place]:
            shutil.copytree(self.first.out(each), work.out(each))
        return "nothing made after it" if later else "the rest was there"

    def _disturb(self, kind: str, work: Work, phase: str, draw: random.Random) -> str:
        if kind in _DAMAGES:
            return damage(work, kind, draw)
        if kind == "two at once":
            return self._two(work, phase, draw)
        if kind == "clock":
            back, reads = draw.randrange(60, _YEARS), draw.choice((0, draw.randrange(2000)))
            self._must_end_well(work, phase, CHAOS=f"clock:{back}:{reads}")
            return f"{back:,} s back after {reads} looks at it"
        if kind.startswith("kill"):
            moment = draw.random() * self.seconds[phase]
            own = draw.random() < 0.15  # a server of the command's own, killed with it
            process = run(work, phase, **(self.own_server if own else {}))
            how = kill(process, moment, kind == "kill the group", draw)
            return f"{how}, with a server of its own" if own else how
        writes = self.writes[phase]
        number = draw.randrange(writes) if kind != "FSIZE" else int(10 ** draw.uniform(2, 6))
        process = run(work, phase, CHAOS=f"{kind}:{number}:{work.store}")
        return f"from {number} on, exit {wait(process)} {work.said()}"

    def _two(self, work: Work, phase: str, draw: random.Random) -> str:
        other = Work(work.folder, suffix="-2", at=work.store)
        for each in PHASES[: PHASES.index(phase)]:
            shutil.copytree(work.out(each), other.out(each))
        first = run(work, phase)
        later = draw.uniform(0, 5)
        time.sleep(later)
        second = run(other, phase)
        ended = wait(first), wait(second)
        if ended != (0, 0):
            raise Loss(f"ended with {ended}: {work.last_line()}; {other.last_line()}")
        for name, digest in digests(other).items():
            if name.startswith(f"{phase}:") and digest != self.wanted[name]:
                raise Loss(f"the second one's {name} differs")
        return f"the second {later:.1f} s later"

    def _must_end_well(self, work: Work, phase: str, **environment: str) -> None:
        status = wait(run(work, phase, **environment))
        if status != 0:
            raise Loss(f"{phase} ended with {status}: {work.last_line()}")

    def _make_again(self, work: Work, noticed: set[str]) -> None:
        """Have what reads the broken artifacts run once more: it must mend them first."""
        if noticed & {"tokens", "plan"}:
            shutil.rmtree(work.store / "train")
        shutil.rmtree(work.store / "evaluate")
        for each in PHASES:
            self._must_end_well(work, each)
        if left := compare(work, self.wanted, damaged=True):
            raise Loss(f"never mended: {', '.join(sorted(left))}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, required=True, help="the undisturbed run is kept here")
    given = parser.parse_args(arguments)
    folder = given.work.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(folder / "prefect")
    with prefect_server():
        chaos = Chaos(folder, given.seed)
        chaos.undisturbed()
        print("undisturbed: " + ", ".join(f"{p} {s:.0f} s" for p, s in chaos.seconds.items()))
        return _rounds(chaos, range(given.first, given.first + given.rounds), print)


def _rounds(chaos: Chaos, numbers: range, say: Callable[[str], None]) -> int:
    outcomes: Counter[str] = Counter()
    for number in numbers:
        try:
            done, outcome = chaos.round(number)
            outcomes["whole"] += 1
            say(f"round {number}: {done}; {outcome}")
        except Loss as loss:
            outcomes["lost"] += 1
            say(f"round {number}: LOSS: {loss}")
            say(
                f"  again: python -m tests.chaos --rounds 1 --first {number} --seed {chaos.seed} "
                f"--work {chaos.folder}"
            )
        sys.stdout.flush()
    say(f"{len(numbers)} rounds, {outcomes['lost']} losses")
    return 1 if outcomes["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
