"""The evaluation tasks of catalog.yaml, and choosing among them by name."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from annotations.yaml_file import first_fault, read_yaml
from artifacts.errors import InputError
from evaluation.records import EvalTask

CATALOG = Path(__file__).parent / "catalog.yaml"
_MAX_BYTES = 1_000_000


def load_catalog(path: Path = CATALOG) -> dict[str, EvalTask]:
    """Name -> task, in the file's order. Raises InputError for a file that is not a catalog."""
    records = read_yaml(path, _MAX_BYTES)
    if not isinstance(records, list):
        raise InputError(f"{path}: must hold a list of tasks, not a {type(records).__name__}")
    tasks: dict[str, EvalTask] = {}
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
    """The named tasks (of `tasks`, by default the catalog), in the order given, each once.

    Raises InputError for an unknown name, with the names nearest to it.
    """
    known = load_catalog() if tasks is None else tasks
    by_lower_case = {name.lower(): name for name in known}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.5)
            choices = [by_lower_case[match] for match in near] or list(known)
            raise InputError(f"no evaluation task {name!r}: choose from {', '.join(choices)}")
    return [known[name] for name in dict.fromkeys(names)]
