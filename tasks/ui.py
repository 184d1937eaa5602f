"""What the flows show in the Prefect UI, one artifact a thing under a key that stays.

Each call is a request to the server, some 30 ms. The UI takes texts for markdown, those of tables
too; a description it shows both ways, so that none has words of a dataset.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.context import TaskRunContext

from artifacts.keys import Spec
from artifacts.store import Store
from evaluation.curve import smoothed
from medi_sources.records import Source
from tasks.dataset_page import dataset_page, failed_page
from tasks.markdown import plain, table
from tasks.pictures import curves, image

P = ParamSpec("P")

_STEPS = 16  # of a training so many are in the table
_OF_A_STEP = ("step", "dataset", "loss", "lr", "grad_norm", "tokens_per_second")
_DISTINCT = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def slug(name: str) -> str:
    """An artifact key: lowercase letters, digits and dashes; another for each name.

    Names of another form than the catalog's a_b_c get a part of their hash.
    """
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if _DISTINCT.fullmatch(name):
        return words
    return f"{words}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


def tags_of(source: Source) -> tuple[str, str]:
    """Of every task run of a dataset; the stage is a tag of the task."""
    return source.name, f"licence: {source.licence.spdx}"


def tag(*tags: str) -> None:
    """Tag the task run that calls. Tags that a run starts with Prefect looks up as the names of
    limits, 170 ms for each set of them; those given later cost nothing."""
    context = TaskRunContext.get()
    if context is not None:
        known = context.task_run.tags  # a second attempt has them
        known.extend(tag for tag in tags if tag not in known)


def _only_shown(show: Callable[P, None]) -> Callable[P, None]:
    """What cannot be shown is a warning in the log: what was made is made."""

    @wraps(show)
    def attempt(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            show(*args, **kwargs)
        except Exception:
            get_run_logger().warning("not shown in the UI", exc_info=True)

    return attempt


@_only_shown
def show_dataset(source: Source, chain: Mapping[str, Spec], store: Store, origin: str) -> None:
    stages = {stage: store.get(spec) for stage, spec in chain.items()}
    rows = stages["shards"].manifest.counts["rows"]
    create_markdown_artifact(
        markdown=dataset_page(source, stages, invented=origin == "sample"),
        key=f"dataset-{slug(source.name)}",
        description=f"{source.name}: {rows:,} rows, {source.licence.spdx}",
    )


@_only_shown
def show_failed(source: Source, error: str) -> None:
    """A failed dataset has a page under the same key: its history tells when it broke."""
    create_markdown_artifact(
        markdown=failed_page(source, error),
        key=f"dataset-{slug(source.name)}",
        description=f"{source.name}: failed",
    )


@_only_shown
def show_build(rows: Sequence[Mapping[str, Any]], description: str) -> None:
    """`rows` in the order to show them: the UI searches its tables, and does not sort them."""
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    create_table_artifact(table=columns, key="build-medi", description=description)


@_only_shown
def show_training(records: Sequence[Mapping[str, Any]], description: str) -> None:
    """The loss curve, and what a training logged at a few of its steps."""
    steps = [float(record["step"]) for record in records]
    losses = [float(record["loss"]) for record in records]
    lines = {"a batch": losses, "mean": smoothed(losses)}
    plots = [curves("loss", {n: list(zip(steps, ys, strict=True)) for n, ys in lines.items()})]
    scored = [record for record in records if record.get("held_out")]
    names = [n for n in ("accuracy", "ndcg_at_10") if scored and n in scored[0]["held_out"]]
    if names:
        of = {n: [(float(r["step"]), float(r["held_out"][n])) for r in scored] for n in names}
        plots.append(curves("held-out rows", of))
    header = [name for name in _OF_A_STEP if name in records[0]]
    chosen = sorted({len(records) * n // _STEPS for n in range(_STEPS)} | {len(records) - 1})
    rows = [[_cell(records[i][name]) for name in header] for i in chosen]
    alts = ("loss by step", "held-out scores by step")
    pictures = [image(plot, alt) for plot, alt in zip(plots, alts, strict=False)]
    create_markdown_artifact(
        markdown="\n\n".join([*pictures, table([plain(name) for name in header], rows)]),
        key="training-loss",
        description=description,
    )


@_only_shown
def show_scores(rows: Sequence[Mapping[str, Any]], report: Path) -> None:
    """`report`: the page that has the scores with their intervals and plots."""
    shown = [
        {name: plain(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    ]
    create_table_artifact(table=shown, key="evaluate-embedder", description=f"report: {report}")


class ProgressBar:
    """A progress artifact of so many steps, updated when its whole percent changes.

    A server that is away for a while ends no flow: nothing is shown then.
    """

    def __init__(self, key: str, total: int) -> None:
        self._total = max(1, total)
        self._done = self._shown = 0
        self._id: UUID | None = None
        with suppress(httpx.HTTPError):
            self._id = create_progress_artifact(progress=0.0, key=key)  # type: ignore[assignment]

    def advance(self) -> None:
        self.at(self._done + 1)

    def at(self, done: int) -> None:
        self._done = done
        percent = 100 * done // self._total
        if self._id and percent != self._shown:
            with suppress(httpx.HTTPError):
                update_progress_artifact(self._id, progress=float(percent))
            self._shown = percent


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else plain(value)
