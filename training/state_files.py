"""How DeepSpeed's state is written and read: in place of its own way, which unpickles anything."""

from __future__ import annotations

import os
import pickle  # its error alone  # nosec B403
from pathlib import Path
from typing import Any

import torch
from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointEngine
from deepspeed.runtime.fp16.loss_scaler import LossScaler
from deepspeed.runtime.zero.config import ZeroStageEnum
from deepspeed.utils.tensor_fragment import fragment_address

from artifacts.errors import InputError
from artifacts.store import FileEntry, file_entry

# What DeepSpeed's state holds besides tensors and plain values. None runs code when it is made.
_STATE = [LossScaler, ZeroStageEnum, fragment_address]


class StateFiles(CheckpointEngine):
    """DeepSpeed's interface to the files of a checkpoint.

    A file that cannot be written is kept as `failure`: raising would leave the other ranks waiting
    in the middle of DeepSpeed's save_checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure: OSError | RuntimeError | None = None
        self._paths: list[Path] = []

    def create(self, info: Any) -> None:
        self.failure = None
        self._paths = []

    def save(self, state_dict: Any, path: str) -> None:
        try:
            with Path(path).open("wb") as file:
                torch.save(state_dict, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            self.failure = error
        self._paths.append(Path(path))

    def load(self, path: str, map_location: Any = None) -> Any:
        """Raises InputError where the file asks for more than tensors, plain values and _STATE."""
        try:
            with torch.serialization.safe_globals(_STATE):
                return torch.load(path, map_location=map_location, weights_only=True)
        except pickle.UnpicklingError as error:
            raise InputError(
                f"{path} holds objects other than DeepSpeed's state and is not loaded; "
                "remove its checkpoint if it is not from a training of yours"
            ) from error

    def commit(self, info: Any) -> bool:
        return True

    def written(self, folder: Path) -> dict[str, FileEntry]:
        """This rank's files since `create`, by their names in `folder`."""
        return {path.relative_to(folder).as_posix(): file_entry(path) for path in self._paths}


def reason_of(error: BaseException) -> str:
    """The system's reason, which torch.save hides behind an error of its own."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, OSError):
        found = found.__context__
    return str(found or error)
