"""The catalog's real files: all there, read whole, and one score that others have published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from artifacts.models import resolve_model
from artifacts.store import Store
from evaluation import layouts
from evaluation.catalog import select
from evaluation.records import EvaluationOptions
from evaluation.run import Asked, evaluate_task
from flows.profiles import get_profile
from tests.evaluation.real_files import MODEL, files_of, mirror, needs_real_data

pytestmark = [pytest.mark.real, needs_real_data]

REAL = {task.name: task for task in select(get_profile("real-small").evaluate.tasks)}


@pytest.mark.parametrize("name", REAL)
def test_a_mirror_has_every_file_of_the_task(name: str) -> None:
    task = REAL[name]
    assert task.location is not None
    missing = [f for f in task.location.files if task.location.mirror_path(f) not in mirror()]
    assert not missing


@pytest.mark.parametrize(
    ("name", "read", "rows"),
    [
        ("STSBenchmark-github", layouts.read_stsb_csv, 1379),
        ("STS12-github", layouts.read_sts_tsv, 2358),
        ("STS13-github", layouts.read_sts_tsv, 1500),
        ("STS14-github", layouts.read_sts_tsv, 3750),
        ("STS15-github", layouts.read_sts_tsv, 3000),
        ("BillboardMSCOCO", layouts.read_billboard, 2500),
    ],
)
def test_every_judged_row_is_read(
    name: str,
    read: Callable[[Sequence[Path]], list[layouts.Pair]],
    rows: int,
) -> None:
    """The counts are those of the tasks' own publications (STS12: without MSRvid's 750)."""
    assert len(read(files_of(REAL[name]))) == rows


def test_trec_questions_have_six_classes_on_both_sides() -> None:
    task = REAL["TRECQuestionClassification"]
    assert task.test_rows is not None
    rows = layouts.read_label_lines(files_of(task))
    train, test = layouts.split_rows(rows, task.test_rows)
    classes = {"ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"}
    assert {row.label for row in train} == {row.label for row in test} == classes
    assert not {row.text for row in train} & {row.text for row in test}


def test_newsgroups_keep_nearly_every_message_without_its_headers() -> None:
    rows = layouts.read_newsgroups(files_of(REAL["MiniNewsgroupsClustering"]))
    assert len({row.label for row in rows}) == 20
    assert 1900 < len(rows) <= 2000
    # A few authors paste another message, its headers and all.
    assert len([row for row in rows if row.text.startswith(("Path:", "Xref:", "Newsgroups:"))]) < 5


def test_squad_questions_lead_to_their_paragraphs() -> None:
    data = layouts.read_squad(files_of(REAL["SQuADParagraphRetrieval"]))
    assert (len(data.questions), len(data.paragraphs)) == (1190, 240)
    assert len({question.id for question in data.questions}) == 1190


@pytest.mark.slow
def test_a_published_score_is_met(tmp_path: Path) -> None:
    """MTEB publishes 82.03 for all-MiniLM-L6-v2 on STSBenchmark."""
    task = REAL["STSBenchmark-github"]
    asked = Asked(task, resolve_model(str(MODEL), None), None, EvaluationOptions())
    result = evaluate_task(asked, files_of(task), tmp_path, Store(tmp_path / "store"))
    assert 100 * result["score"] == pytest.approx(82.03, abs=0.02)
