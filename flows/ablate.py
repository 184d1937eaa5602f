"""ablate: an analysis of the paper as one flow over a grid of models.

every cell:  build -> train -> evaluate     (subflows; whatever two cells share is made once)
then:        ablation.json, figure.png, report.html: the paper's figure beside ours
"""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from evaluation.ablation import Bars, write_ablation
from flows.ablations import QUICK, Ablation, Cell, get_ablation
from flows.profiles import DEFAULT_STORE, get_profile, sections
from flows.results import ROBUSTNESS, SCORES
from flows.run import run_build, run_evaluate, run_train


@flow(name="ablate", flow_run_name="{profile}, {name}")
def ablate(
    name: str,
    out: str,
    profile: str = "sample",
    mirror: str | None = None,
    store: str = DEFAULT_STORE,
    overrides: dict[str, Any] | None = None,
) -> State[Any]:
    """Run the analysis `name`; `out` gets a folder a cell, and the figure."""
    analysis = get_ablation(name, profile)
    folder = Path(out)
    failed = {}
    for number, cell in enumerate(analysis.cells, start=1):
        problem = _run(cell, analysis, folder / cell.slug, profile, mirror, store, overrides)
        if problem:
            failed[cell.slug] = problem
        # No bar: those of the flows inside would write over it.
        told = f"[{number}/{len(analysis.cells)}] {name}: {cell.slug}"
        print(told + (f" FAILED: {problem}" if problem else ""), file=sys.stderr, flush=True)
    write_ablation(folder, analysis.title, analysis.claim, bars(analysis, folder, failed))
    data = {"failed": failed, "task_runs": 0}
    if failed:
        message = "; ".join(f"{cell}: {problem}" for cell, problem in failed.items())
        return Failed(message=message, data=data)
    return Completed(message=f"{len(analysis.cells)} models in {out}", data=data)


def _run(
    cell: Cell,
    analysis: Ablation,
    folder: Path,
    profile: str,
    mirror: str | None,
    store: str,
    overrides: Mapping[str, Any] | None,
) -> str | None:
    """What failed, or None."""
    fields = {**QUICK.get(profile, {}), **(overrides or {}), **cell.fields}
    build, train, evaluate = sections(get_profile(profile), fields)
    medi, model, results = (str(folder / part) for part in ("medi", "model", "results"))
    if run_build(profile, None, medi, mirror, store, build):
        return "a dataset could not be built"
    if run_train(medi, model, profile, None, mirror, store, train):
        return "the training failed"
    tasks = list(analysis.tasks) or None
    if run_evaluate(model, results, tasks, profile, None, mirror, store, evaluate):
        return "a task could not be evaluated"
    return None


def bars(analysis: Ablation, folder: Path, failed: Collection[str] = ()) -> Bars:
    """What the results of the cells that have not failed are in the figure, times 100."""
    ours: dict[tuple[str, str], float] = {}
    for cell in analysis.cells:
        results = folder / cell.slug / "results"
        if cell.slug not in failed and (results / SCORES).is_file():
            ours |= {at: 100 * s for at, s in _measured(analysis, cell, results) if s is not None}
    return Bars(ours, analysis.paper)


def _measured(
    analysis: Ablation, cell: Cell, results: Path
) -> Iterator[tuple[tuple[str, str], float | None]]:
    scores = json.loads((results / SCORES).read_bytes())
    if analysis.measure == "tasks":
        for task in scores["tasks"]:
            for side in ("before", "after"):
                yield (task["task"], side), task[side]
    elif analysis.measure == "gain":
        for side, name in (("before", "untrained"), ("after", "trained")):
            yield (cell.group, name), scores["average"][side]
    elif analysis.measure == "paraphrases" and (results / ROBUSTNESS).is_file():
        means = json.loads((results / ROBUSTNESS).read_bytes())["average"]
        yield (cell.group, "best"), max(means)
        yield (cell.group, "worst"), min(means)
    elif analysis.measure == "average":
        yield (cell.group, cell.series), scores["average"]["after"]
