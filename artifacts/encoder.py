"""What mining and Super-NI pairs need of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


class VectorRows(Protocol):
    """n vectors of one length: an array, or what reads those that are asked for."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Rows, /) -> Vectors | npt.NDArray[np.float16]: ...


class Encode(Protocol):
    """Texts -> one L2-normalised fp32 vector each, shape (len(texts), dim), in order."""

    def __call__(self, texts: Sequence[str]) -> Vectors: ...
