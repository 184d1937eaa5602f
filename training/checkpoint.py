"""Checkpoints: whole or not there, and read without unpickling anything but tensors.

checkpoints/step-00000100/
    state/               DeepSpeed's files: weights, optimizer, learning rate; some of each rank
    encoder.safetensors  the whole weights, where the step is the best by held-out score
    log.jsonl            the log up to the step
    manifest.json        of which training it is, and sha256 of each file; written last

Written as step-00000100.partial and renamed: no manifest, no checkpoint.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors.torch import save_file
from torch import Tensor

from artifacts.errors import InputError
from artifacts.keys import canonical_json, sha256_file
from artifacts.store import MANIFEST, FileEntry, file_entry, sync
from training.engine import of_every_rank, of_rank_0
from training.errors import CheckpointFailed
from training.options import RUN_ONLY, TrainingJob
from training.state_files import StateFiles, reason_of

STATE = "state"
WEIGHTS = "encoder.safetensors"
LOG = "log.jsonl"

_logger = logging.getLogger(__name__)


class Training(BaseModel):
    """What a checkpoint must have in common with the training that goes on from it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    plan: str
    world_size: int
    encoder: str
    options: dict[str, Any]

    @classmethod
    def of(cls, job: TrainingJob, world_size: int) -> Training:
        manifest = job.plan / MANIFEST  # of the artifact: same plan, same bytes
        return cls(
            plan=sha256_file(manifest if manifest.is_file() else job.plan / "rows.npy"),
            world_size=world_size,
            encoder=job.called or job.encoder,
            options=job.options.model_dump(mode="json", exclude=set(RUN_ONLY)),
        )

    def flat(self) -> dict[str, Any]:
        """The plan last: it differs where something before it does, and says nothing to anyone."""
        rest = {"world_size": self.world_size, "encoder": self.encoder, "plan": self.plan}
        return {**self.options, **rest}


class CheckpointManifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    step: int
    training: Training
    log_state: dict[str, Any]  # of training.log.StepLog
    files: dict[str, FileEntry]


class Checkpoints:
    """The checkpoints of one training. Every rank has one, and all call the same methods."""

    def __init__(self, engine: Any, folder: Path, training: Training, rank: int) -> None:
        self.folder = folder
        self._engine = engine
        self._training = training
        self._rank = rank
        self._files = StateFiles()
        engine.checkpoint_engine = self._files
        # A script that unpickles anything; copied outside of StateFiles, where a full disk would
        # leave the other ranks waiting. encoder.safetensors and the export are for people.
        engine._copy_recovery_script = lambda folder: None

    def of_step(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def save(
        self,
        step: int,
        log: Sequence[str],
        log_state: dict[str, Any],
        weights: Mapping[str, Tensor] | None,
    ) -> None:
        """Writes the checkpoint of `step`; `log` and `weights` count on rank 0 alone.

        Raises CheckpointFailed on all ranks where one of them cannot write; nothing is left of the
        attempt then.
        """
        partial = self.of_step(step).with_suffix(".partial")
        self._together(step, partial, lambda: self._begin(partial))
        self._together(step, partial, lambda: self._save_state(partial))
        entries = of_every_rank(self._files.written(partial))
        files = {name: entry for written in entries for name, entry in written.items()}

        def finish() -> None:
            (partial / LOG).write_text("".join(log), encoding="utf-8")
            if weights is not None:
                save_file(dict(weights), partial / WEIGHTS)
            for name in (LOG, *([WEIGHTS] if weights is not None else [])):
                files[name] = file_entry(partial / name)
                sync(partial / name)
            manifest = CheckpointManifest(
                step=step, training=self._training, log_state=log_state, files=files
            )
            text = canonical_json(manifest.model_dump(mode="json")) + "\n"
            (partial / MANIFEST).write_text(text, encoding="utf-8")
            for path in (partial / MANIFEST, partial / STATE, partial):
                sync(path)
            shutil.rmtree(self.of_step(step), ignore_errors=True)  # a broken one
            partial.rename(self.of_step(step))
            sync(self.folder)

        self._together(step, partial, finish if self._rank == 0 else None)

    def _begin(self, partial: Path) -> None:
        if self._rank == 0:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)

    def _save_state(self, partial: Path) -> None:
        self._engine.save_checkpoint(str(partial), tag=STATE, save_latest=False)
        if self._files.failure is not None:
            raise self._files.failure

    def _together(self, step: int, partial: Path, do: Callable[[], None] | None) -> None:
        """Does it, and raises on every rank what one of them met."""
        failure = None
        try:
            if do is not None:
                do()
        except Exception as error:  # of any kind: the other ranks wait to hear of it
            _logger.warning("checkpoint of step %d: %r", step, error)
            failure = reason_of(error)
        failures = [found for found in of_every_rank(failure) if found is not None]
        if failures:
            if self._rank == 0:
                shutil.rmtree(partial, ignore_errors=True)
            last = self.steps()
            kept = f"the last good one is that of step {last[-1]}" if last else "there is none yet"
            raise CheckpointFailed(
                f"cannot save the checkpoint of step {step} in {self.folder}: {failures[0]}; "
                f"{kept}, and the same command goes on from it"
            )

    def prune(self, keep: int, best: int | None) -> None:
        """Leaves the last `keep` and the one of step `best`."""
        if self._rank != 0:
            return
        for step in self.steps()[:-keep]:
            if step != best:
                (self.of_step(step) / MANIFEST).unlink()
                shutil.rmtree(self.of_step(step), ignore_errors=True)

    def steps(self) -> list[int]:
        """Those that have a manifest, ascending."""
        found = self.folder.glob(f"step-*/{MANIFEST}")
        return sorted(int(path.parent.name.removeprefix("step-")) for path in found)

    def resume(self, usable: Callable[[Path], str | None]) -> CheckpointManifest | None:
        """Loads the newest checkpoint that is whole and `usable`; None: there is none.

        `usable` says what else speaks against a whole one. Warns of each that is passed over.
        Raises InputError for one of another training, plan or number of devices.
        """
        chosen: CheckpointManifest | InputError | None = None
        if self._rank == 0:
            try:
                chosen = self._newest(usable)
            except InputError as error:
                chosen = error
        chosen = of_rank_0(chosen)
        if isinstance(chosen, InputError):
            raise chosen
        if chosen is not None:
            self._engine.load_checkpoint(str(self.of_step(chosen.step)), tag=STATE)
        return chosen

    def _newest(self, usable: Callable[[Path], str | None]) -> CheckpointManifest | None:
        for partial in self.folder.glob("step-*.partial"):
            shutil.rmtree(partial, ignore_errors=True)
        for folder in sorted(self.folder.glob("step-*"), reverse=True):
            manifest, reason = read(folder)
            if manifest is not None:
                self._check(folder, manifest.training)
                reason = usable(folder)
            if manifest is not None and reason is None:
                return manifest
            _logger.warning("checkpoint %s is passed over: %s", folder, reason)
        return None

    def _check(self, folder: Path, found: Training) -> None:
        theirs = found.flat()
        for name, value in self._training.flat().items():
            if theirs.get(name) != value:
                raise InputError(
                    f"checkpoint {folder} is of another training: {name} was "
                    f"{theirs.get(name)!r} and is {value!r} now; train as before, or remove "
                    f"{folder.parent} to start over"
                )


def read(folder: Path) -> tuple[CheckpointManifest | None, str | None]:
    """The manifest of a checkpoint that is whole, else what is wrong with it."""
    try:
        manifest = CheckpointManifest.model_validate_json((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        return None, f"{MANIFEST} is missing"
    except ValidationError:
        return None, f"{MANIFEST} cannot be read"
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return None, f"{name} is missing"
        if path.stat().st_size != entry.size:
            return None, f"{name} has {path.stat().st_size} bytes instead of {entry.size}"
        if sha256_file(path) != entry.sha256:
            return None, f"{name} has changed"
    return manifest, None
