"""Tokens and plan may not change under an old VERSION: see test_golden.

Where one does, raise its VERSION, then `python -m tests.flows.test_train_golden MEDI` prints GOLDEN
for the MEDI folder of such a build.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from flows.planning_training import plan_train
from tasks import train_stages as stages
from tests.flows.test_golden import digest
from training import plan, token_store

GOLDEN: dict[str, Any] = {
    "tokens": [
        1,
        {
            "allnli": "7db3aa4adf2d4a6e3f3b81fd",
            "squad_pairs": "94337e72a9c4385a864319ee",
            "task1146_country_capital": "d86ae4671d6273e954138c32",
        },
    ],
    "plan": [1, "643758014b0a5efa71d3a712"],
}


def made(medi: Path, store: Path) -> dict[str, Any]:
    """What GOLDEN has, for sample profile."""
    options = {"steps": 40, "batch_rows": 8, "held_out": 0.1, "processes": 2, "device": "cpu"}
    training = plan_train(str(medi), None, "sample", None, None, str(store), options)
    tokens = {
        name: stages.tokens(spec, medi, training.encoder, training.options, training.store)[0]
        for name, spec in training.tokens.items()
    }
    planned, _ = stages.plan(training)
    return {
        "tokens": [token_store.VERSION, {name: digest(a.folder) for name, a in tokens.items()}],
        "plan": [plan.VERSION, digest(planned.folder)],
    }


def test_tokens_and_plan_are_those_of_their_versions(
    built: subprocess.CompletedProcess[str], store: Path
) -> None:
    assert built.returncode == 0, built.stderr
    assert made(store.parent / "medi", store) == GOLDEN


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(made(Path(sys.argv[1]), Path(folder)))
