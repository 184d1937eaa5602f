"""Run one task on one model with mteb, and gather results: one folder in mteb's layout.

`<out>/results/<model>/<revision>/<Task>.json` is a TaskResult, beside it model_meta.json and
run_settings.jsonl; `mteb.ResultCache(out).load_results()` opens it. What changes from run to run
(times, dates) is left out, so that equal inputs give equal bytes.

mteb takes seconds to import, and planning needs no more than VERSION: it is imported where it runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artifacts.errors import DatasetError
from artifacts.models import ModelRef
from evaluation.model import load_encoder, result_name
from evaluation.records import EvalTask, EvaluationOptions

VERSION = 1
_SETTINGS = "run_settings.jsonl"


def evaluate_task(
    task: EvalTask,
    files: Sequence[Path],
    model: ModelRef,
    out: Path,
    options: EvaluationOptions,
) -> dict[str, Any]:
    """Write the result of `task` into `out`; returns {"task", "metric", "score"}, score in [-1, 1].

    `files` are the local copies of `task.location.files`, in that order. Raises DatasetError for
    data that are not what the record says, InputError for a folder that holds no model.
    """
    import mteb
    from mteb.cache import ResultCache

    from evaluation.tasks import build_task

    built = build_task(task, files, options)
    encoder = load_encoder(model, task, built.metadata.type, options)
    cache = ResultCache(out)
    outcome = mteb.evaluate(
        encoder,
        built,
        cache=cache,
        co2_tracker=False,
        overwrite_strategy="always",
        encode_kwargs={"batch_size": options.batch_size, "show_progress_bar": False},
        show_progress_bar=False,
    )
    (result,) = outcome.task_results
    score = float(result.get_score())
    if math.isnan(score):
        raise DatasetError(
            f"{task.name}: {task.metric} is not a number: the scores of the test rows, or the "
            "model's, are all one and the same"
        )
    timeless = {"evaluation_time": None, "evaluation_phases": None, "date": None}
    path = cache.get_task_result_path(task.name, encoder.mteb_model_meta)
    result.model_copy(update=timeless).to_disk(path)
    return {"task": task.name, "metric": task.metric, "score": round(score, 6)}


def merge_results(folders: Sequence[Path], out: Path) -> None:
    """Bring the results in `folders` together in `out`, in mteb's layout.

    Other files in `out` stay; a result of the same model, revision and task is replaced.
    """
    for folder in folders:
        for path in sorted((folder / "results").glob("*/*/*")):
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.name == _SETTINGS:
                merged = _settings(target) | _settings(path)
                lines = [f"{merged[task]}\n" for task in sorted(merged)]
                target.write_text("".join(lines), encoding="utf-8")
            else:
                target.write_bytes(path.read_bytes())


def _settings(path: Path) -> dict[str, str]:
    """Task -> its line of run_settings.jsonl (one, since our tasks have one split)."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {json.loads(line)["task"]: line for line in lines}


def main_scores(out: Path, model: ModelRef) -> dict[str, float]:
    """Task -> main score of `model` among the results in `out`, by task name."""
    from mteb.results import TaskResult

    folder = out / "results" / result_name(model).replace("/", "__") / model.key
    results = [
        TaskResult.from_disk(path)
        for path in sorted(folder.glob("*.json"))
        if path.name != "model_meta.json"
    ]
    return {result.task_name: float(result.get_score()) for result in results}
