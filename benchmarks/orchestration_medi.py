"""medi's own machinery around stages that do nothing: for benchmarks.orchestration.

    python -m benchmarks.orchestration_medi records N FOLDER       records, annotations, an encoder
    python -m benchmarks.orchestration_medi build ...              `medi build ...`, trivial stages
    python -m benchmarks.orchestration_medi fill FOLDER STORE OUT  the same without Prefect

Only what a stage computes is replaced, by a copy of a small file: planning, keys, the store with
its locks and its fsyncs, the tasks, the pages in the UI and publishing are the product's. `medi
plan` and `medi build` therefore find in the store what they would have made.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from artifacts.keys import Spec
    from artifacts.location import Location
    from artifacts.store import Artifact, Store
    from medi_sources.window import Window
    from tasks.steps import Setting, Step

PROFILE = "real-small"  # downloads nothing when its datasets and its encoder are replaced
_SPREAD = {"mean": 4.0, "p50": 4.0, "p95": 4.0, "max": 4}
_COUNTS: dict[str, dict[str, Any]] = {
    "fetch": {"files": 1},
    "pairs": {"rows_in": 1, "rows_out": 1, "native": 1, "dropped": {}},
    "mine": {
        "rows_in": 1, "rows_out": 1, "dropped": {}, "embeddings": [],
        "tokens": {"query": _SPREAD, "pos": _SPREAD},
        "pos_score": {"mean": 0.5}, "neg_score": {"mean": 0.1},
    },
    "shards": {"rows": 1, "shards": 1},
}  # fmt: skip
_FILES = {
    "fetch": "data.jsonl",
    "pairs": "pairs.parquet",
    "mine": "mined.parquet",
    "shards": "train-00000-of-00001.parquet",
}


_ROW = "row.parquet"  # a shard of one row


def main() -> None:
    command, *given = sys.argv[1:]
    if command == "records":
        write_records(int(given[0]), Path(given[1]))
    elif command == "fill":
        fill(*map(Path, given))
    else:
        replace_stages()
        from flows.cli import main as medi

        medi()


def fields(folder: Path) -> dict[str, str]:
    """What makes PROFILE a build of the records in `folder`, and of nothing else."""
    encoder = str(folder / "encoder")
    return {
        "datasets": "[]",
        "sources": str(folder),
        "encoder": encoder,
        "superni_encoder": encoder,
    }


def write_records(count: int, folder: Path) -> None:
    """`count` records with a file and an annotation each, as docs/own-datasets.md has them."""
    for name in ("annotations", "encoder"):
        (folder / name).mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):  # named by its hash, never loaded
        (folder / "encoder" / name).write_text("{}\n", encoding="utf-8")
    records = []
    for number in range(count):
        name = f"trivial_{number:05d}"
        row = {"query": f"question {number}", "pos": [f"answer {number}"], "neg": ["no answer"]}
        (folder / f"{name}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        (folder / "annotations" / f"{name}.yaml").write_text(
            _ANNOTATION.format(name=name, number=number), encoding="utf-8"
        )
        records.append(_RECORD.format(name=name))
    (folder / "records.yaml").write_text("".join(records), encoding="utf-8")
    _write_row(folder / _ROW)


_RECORD = """\
- name: {name}
  location: {{kind: local, files: [{name}.jsonl]}}
  reader: {{layout: jsonl_query_pos_neg}}
  rows: 1000
  count_source: assumed
  symmetric: true
  licence: {{spdx: CC0-1.0, commercial: true}}
"""
_ANNOTATION = """\
dataset: {name}
query:
  domain: subject {number}
  text_type: question
  objective: retrieving the answer to it
  tag: Questions on subject {number}
  simple: question on subject {number}
  paraphrases:
    - Represent the question on subject {number} so that the answer to it is found
    - Represent what somebody asks on subject {number} by what is wanted
"""


def replace_stages() -> None:
    """From now on the stages of this process copy a file of one row."""
    from tasks import stages

    def fetch(
        spec: Spec,
        location: Location,
        store: Store,
        mirror: Path | None,
        window: Window | None = None,
    ) -> tuple[Artifact, bool]:
        from artifacts.location import LocalFiles

        assert isinstance(location, LocalFiles)
        return _copied(spec, Path(location.folder) / location.files[0], store)

    def next_stage(step: Step, setting: Setting, *_: Spec) -> tuple[Artifact, bool]:
        source = step.read(setting.store).files[0]
        if step.stage == "shards":
            source = Path(str(setting.config.sources)) / _ROW
        return _copied(step.spec, source, setting.store)

    for name, stage in {"fetch": fetch, **dict.fromkeys(_LATER, next_stage)}.items():
        setattr(stages, name, stage)


_LATER = ("pairs", "mine", "shards")


def _copied(spec: Spec, source: Path, store: Store) -> tuple[Artifact, bool]:
    def make(folder: Path) -> Mapping[str, Any]:
        shutil.copyfile(source, folder / _FILES[spec.stage])
        return _COUNTS[spec.stage]

    return store.build(spec, make)


def _write_row(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from artifacts.row import MEDI

    row = {
        "dataset": "trivial", "row_id": 0, "query_instruction": "", "query": "question",
        "doc_instruction": "", "pos": "answer", "neg": ["no answer"],
        "pos_score": 0.5, "neg_score": [0.1], "negatives": "native",
    }  # fmt: skip
    pq.write_table(pa.Table.from_pylist([row], schema=MEDI), path)


def fill(folder: Path, store: Path, out: Path) -> None:
    """Make all artifacts of a build and publish it, stage by stage in this thread."""
    from artifacts.publish import deliver_build
    from artifacts.store import Store
    from flows.planning import plan_build
    from flows.profiles import get_profile, override
    from tasks import stages

    publish = stages.publish
    replace_stages()
    config = override(get_profile(PROFILE).build, fields(folder))
    plan = plan_build(config, Store.open(str(store)), None)
    with patch("os.fsync"):  # nobody measures this
        for step in plan.stale:
            if step.stage == "fetch":
                stages.fetch(step.spec, step.source.location, plan.setting.store, None)
            else:
                getattr(stages, step.stage)(step, plan.setting)
        publication = plan.publication()
        made, _ = publish(plan.publish, publication, None, plan.setting)
    deliver_build(made, publication.entries, out)


if __name__ == "__main__":
    main()
