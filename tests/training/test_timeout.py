"""A training that hangs is ended after its time, with all its processes."""

from __future__ import annotations

import sys
from collections.abc import Callable

import psutil
import pytest

from training import launch
from training.launch import TrainingFailed, train
from training.options import TrainingJob

HANGS = """if True:
    import subprocess, sys
    subprocess.run([sys.executable, "-c", "input()"])
"""


def test_a_training_that_hangs_is_ended_and_may_be_tried_again(
    job: Callable[..., TrainingJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "command", lambda *_: [sys.executable, "-c", HANGS])
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(TrainingFailed, match="not done after 2 s") as failed:
        train(job(timeout=2), lambda record: None)
    assert failed.value.retry
    assert set(psutil.Process().children(recursive=True)) <= before
