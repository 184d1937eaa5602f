"""A training that is cut short must go on as if nothing had been, or say plainly why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any

import pytest

from tests.training_runs import KillAt, files_of, records, run
from training.curve import curve_of
from training.options import TrainingJob

Job = Callable[..., TrainingJob]
Run = Callable[[TrainingJob], TrainingJob]

# Steps are counted from the start or the resume; checkpoints are of the steps 2, 4, 6.
KILLS = [
    KillAt("training.loop", "apply_step", 2),  # in step 2
    KillAt("training.loop", "apply_step", 4),  # in step 4
    KillAt("training.checkpoint", "file_entry", 1),  # saving step 4, half of it written
    KillAt("training.log", "_peak_memory", 3),  # in step 5, its weights updated
    KillAt("training.loop", "export", 1),  # all steps done
]
OPTIONS: dict[str, Any] = {"steps": 7, "checkpoint_every": 2, "max_length": 32}


@pytest.mark.parametrize(
    "given",
    [
        {"held_out": 0.2, "export": "best", "evaluate_every": 3},
        {"zero_stage": 2, "processes": 2, "chunk_tokens": 400, "gradcache": True},
    ],
    ids=str,
)
def test_killed_at_any_step_the_model_is_the_same(
    given: dict[str, Any], job: Job, tiny_bert: str, server: ForkServerContext
) -> None:
    """kill -9, five times in one training; bit by bit, dropout and held-out scores included."""
    whole, cut = (job(name, encoder=tiny_bert, **OPTIONS, **given) for name in ("whole", "cut"))
    assert set(run(server, whole)) == {0}
    resumed = []
    for kill in KILLS:
        assert -9 in run(server, cut, kill)
        assert not cut.out.exists()
        resumed.append(max([0, *whole_steps(cut)]))
    assert resumed == sorted(resumed)
    assert resumed[0] == 0
    assert resumed[-1] >= 6
    assert set(run(server, cut)) == {0}
    assert files_of(cut.out) == files_of(whole.out)
    assert curve_of(records(cut), 7) == curve_of(records(whole), 7)
    assert [r["losses"] for r in records(cut)] == [r["losses"] for r in records(whole)]


def whole_steps(job: TrainingJob) -> list[int]:
    folders = (job.work / "checkpoints").glob("step-*/manifest.json")
    return [int(path.parent.name.removeprefix("step-")) for path in folders]


@pytest.mark.parametrize(
    "given",
    [
        {"zero_stage": 1, "weight_decay": 0.1},
        {"zero_stage": 3},
        {"zero_stage": 3, "offload": "parameters", "gradcache": True, "chunk_tokens": 300},
        {"zero_stage": 2, "offload": "optimizer", "gradient_checkpointing": True},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_every_way_to_train_can_be_resumed(
    given: dict[str, Any], stopped: Callable[..., Any], job: Job, run_here: Run, tiny_bert: str
) -> None:
    """With weights that are not trained, a BERT's pooler."""
    options = {"encoder": tiny_bert, "max_length": 32, "steps": 5, **given}
    cut = run_here(stopped(4, **options))
    assert files_of(cut.out) == files_of(run_here(job("whole", **options)).out)


def test_the_log_is_that_of_one_training(stopped: Callable[..., Any], run_here: Run) -> None:
    """Steps that are done again are not logged twice, a line cut short is mended."""
    job = stopped(6)
    assert [record["step"] for record in records(job)] == [1, 2, 3, 4, 5]
    with (job.work / "log.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    run_here(job)
    assert [record["step"] for record in records(job)] == [1, 2, 3, 4, 5, 6]


def test_a_record_counts_the_steps_before_the_stop(
    stopped: Callable[..., Any], job: Job, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the checkpoint lies between two records."""
    monkeypatch.setattr("training.loop.on_curve", lambda step, steps: step == steps)
    cut = run_here(stopped(5, checkpoint_every=3, log_every=4))
    whole = run_here(job("whole", steps=6, log_every=4))
    counted = ("step", "loss", "losses", "rows", "tokens", "tokens_computed")
    assert [[r[name] for name in counted] for r in records(cut)] == [
        [r[name] for name in counted] for r in records(whole)
    ]
    assert [record["step"] for record in records(cut)] == [4, 6]
