"""A checkpoint is whole and of this training, or it is not used; and a user is told which."""

from __future__ import annotations

import errno
import json
import logging
import pickle
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch

from artifacts.errors import InputError
from artifacts.store import file_entry
from tests.training_runs import files_of, records, run, steps_of
from training.errors import CheckpointFailed
from training.options import TrainingJob

Job = Callable[..., TrainingJob]
Run = Callable[[TrainingJob], TrainingJob]


def break_by_half(folder: Path) -> str:
    path = folder / "state" / "mp_rank_00_model_states.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "bytes instead of"


def break_a_bit(folder: Path) -> str:
    path = folder / "state" / "mp_rank_00_model_states.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return "mp_rank_00_model_states.pt has changed"


def break_a_file_off(folder: Path) -> str:
    (folder / "log.jsonl").unlink()
    return "log.jsonl is missing"


def break_the_manifest(folder: Path) -> str:
    (folder / "manifest.json").write_text("{}")
    return "manifest.json cannot be read"


@pytest.mark.parametrize("harm", [break_by_half, break_a_bit, break_a_file_off, break_the_manifest])
def test_a_broken_newest_checkpoint_is_passed_over(
    harm: Callable[[Path], str],
    stopped: Callable[..., Any],
    job: Job,
    run_here: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says which and why, and goes on from the one before."""
    broken = stopped(6)
    newest = broken.work / "checkpoints" / "step-00000004"
    reason = harm(newest)
    with caplog.at_level(logging.WARNING, "training"):
        run_here(broken)
    (warning,) = [r.getMessage() for r in caplog.records if r.name.startswith("training")]
    assert str(newest) in warning
    assert reason in warning
    assert files_of(broken.out) == files_of(run_here(job("whole", steps=6)).out)


def test_without_the_best_step_it_goes_back_before_it(
    stopped: Callable[..., Any], job: Job, run_here: Run, caplog: pytest.LogCaptureFixture
) -> None:
    """Going on from a later one, the training would end with no best model to export."""
    options = {"export": "best", "held_out": 0.2, "evaluate_every": 2, "learning_rate": 1e-2}
    cut = stopped(8, steps=8, checkpoint_every=1, keep_checkpoints=9, **options)
    step = max(
        (r for r in records(cut) if "held_out" in r), key=lambda r: r["held_out"]["ndcg_at_10"]
    )["step"]
    (cut.work / "checkpoints" / f"step-{step:08d}" / "encoder.safetensors").unlink()
    with caplog.at_level(logging.WARNING, "training"):
        run_here(cut)
    warnings = [r.getMessage() for r in caplog.records if r.name.startswith("training")]
    assert len(warnings) == 7 - step + 1
    assert all("encoder.safetensors is missing" in warning for warning in warnings)
    whole = run_here(job("whole", steps=8, **options))
    assert files_of(cut.out) == files_of(whole.out)


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("planted"),))


@pytest.mark.parametrize("zero_stage", [0, 2])
def test_foreign_objects_are_not_unpickled(
    zero_stage: int,
    stopped: Callable[..., Any],
    run_here: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A checkpoint someone handed on must not run code, though all its hashes are right."""
    monkeypatch.chdir(tmp_path)
    job = stopped(4, zero_stage=zero_stage)
    folder = job.work / "checkpoints" / "step-00000002"
    path = sorted((folder / "state").iterdir())[-1]
    before = file_entry(path).sha256
    torch.save({**torch.load(path, weights_only=False), "extra": Payload()}, path)
    text = (folder / "manifest.json").read_text().replace(before, file_entry(path).sha256)
    size = f'"size":{path.stat().st_size}'
    entry = text.index(path.name)
    start = text.index('"size":', entry)
    end = text.index("}", start)
    (folder / "manifest.json").write_text(text[:start] + size + text[end:])
    with pytest.raises(InputError, match=rf"{path.name} holds objects other than DeepSpeed's"):
        run_here(job)
    assert not (tmp_path / "planted").exists()
    torch.load(path, weights_only=False)
    assert (tmp_path / "planted").exists()  # what would have happened
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"seed": 1}, "seed was 0 and is 1 now"),
        ({"learning_rate": 0.5}, "learning_rate was 0.001 and is 0.5 now"),
        ({"batch_rows": 4}, "batch_rows was 8 and is 4 now"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    given: dict[str, Any], reason: str, stopped: Callable[..., Any], job: Job, run_here: Run
) -> None:
    first = stopped(4)
    with pytest.raises(InputError, match=reason):
        run_here(job(steps=6, checkpoint_every=2, **given))
    run_here(job(steps=6, checkpoint_every=5, log_every=4))  # what changes no weight may change
    assert [r["step"] for r in records(first)][-1] == 6


def test_a_checkpoint_of_another_number_of_devices_is_refused(
    stopped: Callable[..., Any], job: Job, server: ForkServerContext
) -> None:
    first = stopped(4)
    assert run(server, job(steps=6, checkpoint_every=2, processes=2)) != [0, 0]
    failed = json.loads((first.work / "failed.json").read_text())
    assert "world_size was 1 and is 2 now" in failed["message"]
    assert failed["bad_input"]


@pytest.mark.parametrize("at", ["torch.save", "manifest"])
def test_a_full_disk_leaves_the_checkpoint_before(
    at: str, job: Job, run_here: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One clear line; nothing half written is left; with room again it goes on."""
    from training import checkpoint, state_files

    full = OSError(errno.ENOSPC, "No space left on device")
    room = iter([True])

    def save(state: Any, file: Any) -> None:
        if next(room, None) is not None:
            return original(state, file)
        file.write(b"half of it")
        try:
            raise full
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")  # what torch makes of it

    def canonical_json(value: Any) -> str:
        if next(room, None) is None:
            raise full
        return str(original_json(value))

    original, original_json = torch.save, checkpoint.canonical_json
    started = job(steps=6, checkpoint_every=2)
    with monkeypatch.context() as patch:
        if at == "torch.save":
            patch.setattr(state_files.torch, "save", save)
        else:
            patch.setattr(checkpoint, "canonical_json", canonical_json)
        line = r"checkpoint of step 4 .* No space left on device; the last good one .* step 2, and"
        with pytest.raises(CheckpointFailed, match=line):
            run_here(started)
    assert [path.name for path in (started.work / "checkpoints").iterdir()] == ["step-00000002"]
    from training.engine import leave_processes

    leave_processes()
    run_here(started)
    assert files_of(started.out) == files_of(run_here(job("whole", steps=6)).out)


def test_the_last_and_the_best_are_kept(job: Job, run_here: Run) -> None:
    options = {"steps": 9, "held_out": 0.2, "evaluate_every": 1, "learning_rate": 1.0}
    done = run_here(job(checkpoint_every=2, keep_checkpoints=2, **options))
    scores = [record["held_out"]["ndcg_at_10"] for record in records(done)]
    firsts = {scores.index(max(scores[:step])) + 1 for step in range(1, 10)}  # best of their time
    saved, best = sorted(firsts | {2, 4, 6, 8}), scores.index(max(scores)) + 1
    assert steps_of(done) == sorted({*saved[-2:], best})
    weights = done.work / "checkpoints" / f"step-{best:08d}" / "encoder.safetensors"
    assert weights.is_file()
