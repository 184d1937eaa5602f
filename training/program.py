"""The program the DeepSpeed launcher starts, one process a device.

deepspeed --module training.program --job WORK/job.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import traceback
from pathlib import Path

from artifacts.errors import InputError
from training.errors import TrainingDiverged
from training.options import TrainingJob
from training.ranks import adopt


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--job", type=Path, required=True)
    arguments.add_argument("--end-with-stdin", action="store_true")
    arguments.add_argument("--rendezvous", help="HOST:PORT of rank 0, where no one has said it")
    given = arguments.parse_args()
    if given.end_with_stdin:
        end_with_stdin()
    job = TrainingJob.model_validate_json(given.job.read_text(encoding="utf-8"))
    adopt(given.rendezvous, job.options.device)
    # torch and DeepSpeed take seconds to import; the process must be able to end before.
    try:
        from training.loop import run

        run(job)
    except Exception as error:
        traceback.print_exc()
        report_failure(job.work, error)
        # Other devices may wait for this one in a collective; a tidy exit would wait for them.
        sys.stderr.flush()
        os._exit(1)


def end_with_stdin() -> None:
    """Ends this process as soon as standard input closes.

    The launcher's processes all inherit standard input from training.launch, so its end, by
    kill -9 too, ends a training that would otherwise go on unseen.
    """

    def wait() -> None:
        # Not sys.stdin: its lock, held by a thread at exit, makes the interpreter abort.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def report_failure(work: Path, error: Exception) -> None:
    """failed.json: the first device to fail says why; the others fail because of it."""
    text = {
        "bad_input": isinstance(error, InputError),
        "diverged": isinstance(error, TrainingDiverged),
        "message": str(error),
    }
    try:
        with (work / "failed.json").open("x", encoding="utf-8") as file:
            file.write(json.dumps(text))
    except OSError:  # FileExistsError: another was first; else nothing can be written there
        pass


if __name__ == "__main__":
    main()
