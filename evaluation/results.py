"""Results in mteb's layout: written the same every time, brought together, read again.

`<out>/results/<model>/<revision>/<Task>.json` is a TaskResult, beside it model_meta.json and
run_settings.jsonl; `mteb.ResultCache(out).load_results()` opens it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from artifacts.models import ModelRef
from evaluation.model import result_name

DECIMALS = 4
_SETTINGS = "run_settings.jsonl"
_META = "model_meta.json"


def make_timeless(out: Path) -> None:
    """Result files without times, their scores rounded; lists that were sets in one order."""
    from mteb.results import TaskResult

    for path in (out / "results").glob("*/*/*.json"):
        if path.name == _META:
            meta = json.loads(path.read_bytes())
            if meta.get("training_datasets"):
                meta["training_datasets"].sort()
            path.write_text(json.dumps(meta, indent=4) + "\n", encoding="utf-8")
            continue
        result = TaskResult.from_disk(path)
        update = {
            "scores": _rounded(result.scores),
            "evaluation_time": None,
            "evaluation_phases": None,
            "date": None,
        }
        result.model_copy(update=update).to_disk(path)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DECIMALS)
    if isinstance(value, Mapping):
        return {name: _rounded(each) for name, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


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


def of_other_versions(out: Path, model: ModelRef) -> dict[str, str]:
    """Task -> the mteb version that its result of `model` in `out` is from, where not this one.

    A file that is no result of mteb's at all is of version "unknown".
    """
    here = version("mteb")
    found = {}
    for path in sorted(_results_of(out, model).glob("*.json")):
        if path.name == _META:
            continue
        try:
            of = str(json.loads(path.read_bytes())["mteb_version"])
        except (ValueError, KeyError, TypeError):
            of = "unknown"
        if of != here:
            found[path.stem] = of
    return found


def main_scores(out: Path, model: ModelRef) -> dict[str, float]:
    """Task -> main score of `model` among the results in `out`, by task name."""
    from mteb.results import TaskResult

    results = [
        TaskResult.from_disk(path)
        for path in sorted(_results_of(out, model).glob("*.json"))
        if path.name != _META
    ]
    return {result.task_name: float(result.get_score()) for result in results}


def _results_of(out: Path, model: ModelRef) -> Path:
    return out / "results" / result_name(model).replace("/", "__") / model.key
