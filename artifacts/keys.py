"""Content keys: what an artifact is made of, hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any


def canonical_json(value: Any) -> str:
    """One spelling per value. Refuses sets and NaN (TypeError, ValueError): neither has one."""
    return json.dumps(
        value, sort_keys=True, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )


def sha256_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Spec:
    """What an artifact is, before it exists.

    `params` are JSON values, `inputs` maps a role to an upstream key. `version` is the stage's
    own VERSION: raise it when the stage's output changes for the same params and inputs.
    """

    stage: str
    dataset: str
    version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """24 hexadecimal digits."""
        text = canonical_json(
            {
                "stage": self.stage,
                "dataset": self.dataset,
                "version": self.version,
                "params": dict(self.params),
                "inputs": dict(self.inputs),
            }
        )
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def __str__(self) -> str:
        return f"{self.stage}: {self.dataset}"
