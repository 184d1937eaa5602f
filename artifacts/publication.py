"""What is published of a build: its datasets, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts.store import Artifact, FileEntry

FOLDER = "folder"  # of the publish artifact: what is copied to the dataset folder
COMMERCIAL = {True: "yes", False: "no", None: "unknown"}  # a licence's `commercial` in words


@dataclass(frozen=True)
class Entry:
    """One dataset of the build, as its artifacts and its record tell it."""

    name: str
    record: Mapping[str, Any]  # the source record as JSON values
    instructions: tuple[str, str]
    stages: Mapping[str, Artifact]  # fetch, pairs, mine, shards

    @property
    def drops(self) -> dict[str, int]:
        """Rows left out, by reason, over all stages."""
        drops: dict[str, int] = {}
        for stage in self.stages.values():
            for reason, n in stage.manifest.counts.get("dropped", {}).items():
                drops[reason] = drops.get(reason, 0) + int(n)
        return dict(sorted(drops.items()))

    @property
    def in_batch_negatives(self) -> bool:
        """Whether texts of other rows are negatives of a row; not where rows share labels."""
        kind = self.stages["pairs"].manifest.counts.get("superni_kind")
        return not (self.record.get("label_like", False) or kind == "classification")

    @property
    def shards(self) -> dict[str, Path]:
        """Path in the dataset folder -> shard file in the store."""
        return {f"data/{self.name}/{path.name}": path for path in self.stages["shards"].files}


@dataclass(frozen=True)
class Publication:
    """What is published: the datasets, what is said of the build, and what explains it."""

    entries: Sequence[Entry]
    build: Mapping[str, Any]
    task_ids: Mapping[str, int]
    reasons: Mapping[str, str]  # why rows are dropped -> what that means


@dataclass(frozen=True)
class Line:
    """A dataset as it is published: `leaks` rows fewer than its shards artifact has."""

    entry: Entry
    rows: int
    native: int  # of them with negatives of the source's own
    leaks: int
    files: Mapping[str, FileEntry]

    @property
    def drops(self) -> dict[str, int]:
        return self.entry.drops | ({"leak": self.leaks} if self.leaks else {})
