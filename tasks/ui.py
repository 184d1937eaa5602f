"""What a build shows in the Prefect UI: a table a dataset, one for the build, a progress bar."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from artifacts.store import Artifact
from tasks.stages import sample_rows

_CELL = 160  # characters: the UI's list pages load every artifact whole


def slug(name: str) -> str:
    """An artifact key: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def dataset_table(stages: Mapping[str, Artifact]) -> list[dict[str, Any]]:
    """measure | value: rows in, drops by reason, out; tokens; scores; three sample rows."""
    counts = {stage: artifact.manifest.counts for stage, artifact in stages.items()}
    table = [("rows in", counts["pairs"]["rows_in"])]
    for stage in ("pairs", "mine"):
        for reason, n in counts[stage].get("dropped", {}).items():
            table.append((f"dropped: {reason}", n))
    table.append(("rows out", counts["shards"]["rows"]))
    for side, spread in counts["mine"]["tokens"].items():
        table.append((f"tokens: {side}", _line(spread)))
    for side in ("pos_score", "neg_score"):
        table.append((side, _line(counts["mine"][side] or {})))
    for i, row in enumerate(sample_rows(stages["shards"], 3)):
        for side in ("query", "pos"):
            instruction = row["query_instruction" if side == "query" else "doc_instruction"]
            table.append((f"row {i + 1}: {side}", _cut(instruction + row[side])))
        table += [(f"row {i + 1}: neg", _cut(text)) for text in row["neg"][:1]]
    return [{"measure": measure, "value": value} for measure, value in table]


def show_dataset(dataset: str, stages: Mapping[str, Artifact]) -> None:
    create_table_artifact(
        table=dataset_table(stages), key=f"dataset-{slug(dataset)}", description=dataset
    )


def show_build(rows: Sequence[Mapping[str, Any]], description: str) -> None:
    create_table_artifact(
        table=[dict(row) for row in rows], key="build-medi", description=description
    )


def show_training(records: Sequence[Mapping[str, Any]], description: str) -> None:
    """The numbers that a training logged, at up to 50 steps of it."""
    table = []
    for i in sorted({len(records) * n // 50 for n in range(50)} | {len(records) - 1}):
        held_out = records[i].get("held_out") or {}
        told = {**records[i], **{f"held-out {name}": value for name, value in held_out.items()}}
        table.append({n: _number(v) for n, v in told.items() if isinstance(v, str | int | float)})
    create_table_artifact(table=table, key="training-loss", description=description)


def show_scores(rows: Sequence[Mapping[str, Any]]) -> None:
    create_table_artifact(
        table=[dict(row) for row in rows], key="evaluate-embedder", description="scores"
    )


class ProgressBar:
    """A progress artifact of so many steps."""

    def __init__(self, key: str, total: int) -> None:
        self._total = max(1, total)
        self._done = 0
        self._id: UUID = create_progress_artifact(progress=0.0, key=key)  # type: ignore[assignment]

    def advance(self) -> None:
        self.at(self._done + 1)

    def at(self, done: int) -> None:
        self._done = done
        update_progress_artifact(self._id, progress=100.0 * self._done / self._total)


def _cut(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"


def _line(spread: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in spread.items())


def _number(value: str | int | float) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
