"""The one thing mining and Super-NI pairs need of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


class Encode(Protocol):
    """Texts -> one L2-normalised fp32 vector each, shape (len(texts), dim), in order."""

    def __call__(self, texts: Sequence[str]) -> Vectors: ...
