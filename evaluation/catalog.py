"""The evaluation tasks of catalog/*.yaml, and choosing among them by name or category."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from annotations.load import load_evaluation
from annotations.render import instructions
from annotations.schema import Level
from annotations.yaml_file import first_fault, read_yaml
from artifacts.errors import InputError
from evaluation.paper import PAPER_70
from evaluation.records import CATEGORIES, EvalTask, EvaluationOptions, Instructions

CATALOG = Path(__file__).parent / "catalog"
_MAX_BYTES = 1_000_000


def load_catalog(folder: Path = CATALOG) -> dict[str, EvalTask]:
    """Name -> task, file by file. Raises InputError for a file that is no list of tasks."""
    tasks: dict[str, EvalTask] = {}
    for path in sorted(folder.glob("*.yaml")):
        records = read_yaml(path, _MAX_BYTES)
        if not isinstance(records, list):
            raise InputError(f"{path}: must hold a list of tasks, not a {type(records).__name__}")
        for position, record in enumerate(records, start=1):
            try:
                task = EvalTask.model_validate(record)
            except ValidationError as error:
                raise InputError(f"{path}: task {position}, {first_fault(error)}") from error
            if task.name in tasks:
                raise InputError(f"{path}: task {position}, {task.name} stands there twice")
            tasks[task.name] = task
    return tasks


def select(names: Sequence[str], tasks: Mapping[str, EvalTask] | None = None) -> list[EvalTask]:
    """The tasks of `tasks` (by default the catalog) that are named, each once, in that order.

    A name is a task's, a category's (its tasks in the paper), or `paper`: the 70. Letter case makes
    no difference. Raises InputError for an unknown name, with the names nearest to it.
    """
    known = load_catalog() if tasks is None else tasks
    meant: dict[str, list[str]] = {name.lower(): [name] for name in known}
    for category in CATEGORIES:
        meant[category.lower()] = [
            n for n in PAPER_70 if n in known and known[n].category == category
        ]
    meant["paper"] = [name for name in PAPER_70 if name in known]
    spelt = {name.lower(): name for name in (*known, *CATEGORIES, "paper")}
    chosen: dict[str, EvalTask] = {}
    for name in names:
        if name.lower() not in meant:
            near = difflib.get_close_matches(name.lower(), spelt, n=3, cutoff=0.5)
            choices = [spelt[match] for match in near] or list(spelt.values())
            raise InputError(f"no evaluation task {name!r}: choose from {', '.join(choices)}")
        chosen |= {each: known[each] for each in meant[name.lower()]}
    return list(chosen.values())


def instructions_of(task: EvalTask, options: EvaluationOptions) -> Instructions:
    """The task's instructions in the wording that `options` ask for.

    Raises InputError where the task has no annotation, or a faulty one.
    """
    level: Level = options.detail
    return instructions(load_evaluation(task.annotated_as), level, options.paraphrase)
