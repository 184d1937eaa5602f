"""What `medi sources` and `medi plan` print."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from annotations.lint import lint, lint_evaluation
from annotations.load import load_all, load_all_evaluation
from artifacts.errors import InputError
from artifacts.publication import COMMERCIAL
from evaluation.catalog import load_catalog as evaluation_catalog
from medi_sources.catalog import load_catalog, select, with_own
from medi_sources.records import Source


def sources(licence: str | None, own: str | None) -> None:
    """The catalog as a table; `licence="commercial"` keeps what may be used so.

    `own` is a folder of the user's records, shown with them.
    """
    if licence not in (None, "commercial"):
        raise InputError(f"--licence {licence!r}: the only choice is commercial")
    found = [s for s in _catalog(own).values() if not licence or s.licence.commercial]
    table = Table("dataset", "rows", "count", "kind", "licence", "commercial", "location")
    for s in found:
        kind = "symmetric" if s.symmetric else "asymmetric"
        place = getattr(s.location, "repository", s.location.files[0])
        commercial = COMMERCIAL[s.licence.commercial]
        table.add_row(
            s.name, f"{s.rows:,}", s.count_source, kind, s.licence.spdx, commercial, place
        )
    _wide().print(table)
    print(f"{len(found)} datasets, {sum(s.collection == 'medi' for s in found)} of the 330")


def source(name: str, own: str | None) -> None:
    """One record, as its YAML file would have it."""
    (record,) = select(_catalog(own), [name])
    print(yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def check_sources(own: str | None) -> int:
    """Lint the annotations against the catalogs of sources and evaluation tasks; exit status."""
    annotations = (load_all(Path(own) / "annotations") if own else {}) | load_all()
    faults = lint({s.name: s.symmetric for s in _catalog(own).values()}, annotations)
    tasks = {task.annotated_as: task.symmetric for task in evaluation_catalog().values()}
    faults += lint_evaluation(tasks, load_all_evaluation())
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults")
    return 1 if faults else 0


def _catalog(own: str | None) -> Mapping[str, Source]:
    return with_own(load_catalog(), Path(own)) if own else load_catalog()


def plan(report: dict[str, Any]) -> None:
    """A line per stage to run, then the sums."""
    for step in report["run"]:
        print(f"{step['stage']:<8} {step['dataset']}: {step['reason']}")
    sums = Counter(step["stage"] for step in report["run"])
    spelled = ", ".join(f"{stage} {n}" for stage, n in sums.items())
    print(
        f"to run: {len(report['run'])}{f' ({spelled})' if sums else ''}; cached: {report['cached']}"
    )


def _wide() -> Console:
    """A table piped into a file keeps its columns."""
    console = Console()
    return console if console.is_terminal else Console(width=200)
