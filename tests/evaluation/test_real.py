"""The catalog's real files: all there, read whole, and one score that others have published."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from artifacts.models import resolve_model
from evaluation import layouts
from evaluation.catalog import load_catalog
from evaluation.records import EvalTask, EvaluationOptions
from evaluation.run import evaluate_task

_TESTS = Path(__file__).resolve().parents[1]
_DATA = Path(os.environ.get("MEDI_REAL_DATA", _TESTS.parent.parent / "shared" / "data"))
_MODEL = _DATA.parent / "models" / "all-MiniLM-L6-v2-fp16"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        not (_DATA / "eval").is_dir(), reason=f"no real data in {_DATA} (set MEDI_REAL_DATA)"
    ),
]

REAL = {name: task for name, task in load_catalog().items() if not name.startswith("Sample")}


@pytest.fixture(scope="module")
def mirror() -> dict[str, Path]:
    """Path in the mirror -> the real file that tests/real_mirror.py lays out there."""
    spec = importlib.util.spec_from_file_location("real_mirror", _TESTS / "real_mirror.py")
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {path: file for file, path in module.mirrored(_DATA)}


def files_of(task: EvalTask, mirror: Mapping[str, Path]) -> list[Path]:
    return [mirror[task.location.mirror_path(file)] for file in task.location.files]


@pytest.mark.parametrize("name", REAL)
def test_a_mirror_has_every_file_of_the_task(name: str, mirror: dict[str, Path]) -> None:
    task = REAL[name]
    missing = [f for f in task.location.files if task.location.mirror_path(f) not in mirror]
    assert not missing


@pytest.mark.parametrize(
    ("name", "read", "rows"),
    [
        ("STSBenchmark", layouts.read_stsb_csv, 1379),
        ("STS12", layouts.read_sts_tsv, 2358),
        ("STS13", layouts.read_sts_tsv, 1500),
        ("STS14", layouts.read_sts_tsv, 3750),
        ("STS15", layouts.read_sts_tsv, 3000),
        ("BillboardMSCOCO", layouts.read_billboard, 2500),
    ],
)
def test_every_judged_row_is_read(
    name: str,
    read: Callable[[Sequence[Path]], list[layouts.Pair]],
    rows: int,
    mirror: dict[str, Path],
) -> None:
    """The counts are those of the tasks' own publications (STS12: without MSRvid's 750)."""
    assert len(read(files_of(REAL[name], mirror))) == rows


def test_trec_questions_have_six_classes_on_both_sides(mirror: dict[str, Path]) -> None:
    task = REAL["TRECQuestionClassification"]
    assert task.test_rows is not None
    rows = layouts.read_label_lines(files_of(task, mirror))
    train, test = layouts.split_rows(rows, task.test_rows)
    classes = {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert {row.label for row in train} == {row.label for row in test} == classes
    assert not {row.text for row in train} & {row.text for row in test}


def test_newsgroups_keep_nearly_every_message_without_its_headers(mirror: dict[str, Path]) -> None:
    rows = layouts.read_newsgroups(files_of(REAL["MiniNewsgroupsClustering"], mirror))
    assert len({row.label for row in rows}) == 20
    assert 1900 < len(rows) <= 2000
    # A few authors paste another message, its headers and all.
    assert len([row for row in rows if row.text.startswith(("Path:", "Xref:", "Newsgroups:"))]) < 5


def test_squad_questions_lead_to_their_paragraphs(mirror: dict[str, Path]) -> None:
    data = layouts.read_squad(files_of(REAL["SQuADParagraphRetrieval"], mirror))
    assert (len(data.questions), len(data.paragraphs)) == (1190, 240)
    assert len({question.id for question in data.questions}) == 1190


def test_a_published_score_is_met(mirror: dict[str, Path], tmp_path: Path) -> None:
    """MTEB publishes 82.03 for all-MiniLM-L6-v2 on STSBenchmark."""
    task = REAL["STSBenchmark"]
    model = resolve_model(str(_MODEL), None)
    result = evaluate_task(task, files_of(task, mirror), model, tmp_path, EvaluationOptions())
    assert 100 * result["score"] == pytest.approx(82.03, abs=0.02)
