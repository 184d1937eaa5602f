"""The paper's figures agree with each other; when a line of ours may stand beside them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evaluation.baselines import BASELINES, DOMAIN_SHIFT, TOTALS, Baseline, standing
from evaluation.catalog import load_catalog
from evaluation.paper import PAPER_70
from evaluation.records import CATEGORIES, EvalTask
from evaluation.scores import ScoreRow
from evaluation.sections import main_table, paper_marks

Task = Callable[..., EvalTask]


@pytest.mark.parametrize("line", BASELINES, ids=lambda line: line.name)
def test_the_figures_of_a_line_agree(line: Baseline) -> None:
    """Avg is the mean of the nine; MTEB-56 that of the seven, by their numbers of tasks."""
    assert len(line.categories) == len(CATEGORIES)
    assert sum(line.categories) / 9 == pytest.approx(line.average, abs=0.1)
    weights = list(TOTALS.values())[:7]
    mean = sum(w * score for w, score in zip(weights, line.categories, strict=False)) / 56
    assert mean == pytest.approx(line.mteb_56, abs=0.15)


def test_the_categories_are_those_of_the_catalog() -> None:
    catalog = load_catalog()
    counted = {c: sum(catalog[name].category == c for name in PAPER_70) for c in CATEGORIES}
    assert counted == TOTALS and sum(TOTALS.values()) == 70
    assert {shift.task for shift in DOMAIN_SHIFT} <= set(PAPER_70)


@pytest.fixture
def all_rows() -> list[ScoreRow]:
    """Every task of the paper: 0.4 before and 0.5 after, STS 0.8."""
    catalog = load_catalog()
    tasks = [catalog[name] for name in PAPER_70]
    return [ScoreRow(task, 0.4, 0.8 if task.category == "STS" else 0.5) for task in tasks]


def test_with_all_70_the_line_is_whole(all_rows: list[ScoreRow]) -> None:
    ours = standing(all_rows, "after", PAPER_70)
    assert all(mean.whole for mean in ours.categories)
    assert ours.average.whole and ours.average.score == pytest.approx((8 * 50 + 80) / 9)
    assert ours.mteb_56.whole and ours.mteb_56.score == pytest.approx((46 * 50 + 10 * 80) / 56)
    assert standing(all_rows, "before", PAPER_70).average.score == pytest.approx(40)
    assert paper_marks(all_rows, PAPER_70)[5] == 83.2


def test_a_task_less_and_the_line_does_not_compare(all_rows: list[ScoreRow]) -> None:
    rows = [row for row in all_rows if row.task.name != "STS12"]
    ours = standing(rows, "after", PAPER_70)
    sts = ours.categories[CATEGORIES.index("STS")]
    assert (sts.done, sts.total, sts.whole) == (9, 10, False)
    assert sts.score == pytest.approx(80)
    assert not ours.average.whole and not ours.mteb_56.whole
    text = "".join(main_table(rows, [("after", "mine")], PAPER_70))
    assert '<td class="n quiet">80.0<small>(9/10)</small></td>' in text
    assert '<td class="n quiet">–</td>' in text  # Avg
    assert paper_marks(rows, PAPER_70)[5] is None


def test_a_reduced_task_makes_its_category_a_partial_one(all_rows: list[ScoreRow]) -> None:
    rows = [
        ScoreRow(row.task, row.before, row.after, reduced="cut" * (row.task.name == "PromptRTE"))
        for row in all_rows
    ]
    ours = standing(rows, "after", PAPER_70)
    assert not ours.categories[-1].whole and ours.categories[-1].reduced == 1
    assert not ours.average.whole and ours.mteb_56.whole


def test_a_task_that_is_not_the_papers_counts_for_nothing(
    all_rows: list[ScoreRow], eval_task: Task
) -> None:
    more = [*all_rows, ScoreRow(eval_task("stsb_csv", name="Invented"), 0.0, 0.0)]
    assert standing(more, "after", PAPER_70) == standing(all_rows, "after", PAPER_70)
    assert paper_marks(more, PAPER_70)[5] is None  # the bar is of other tasks too


def test_a_score_of_nought_counts(all_rows: list[ScoreRow]) -> None:
    rows = [ScoreRow(row.task, 0.0, 0.0) for row in all_rows]
    average = standing(rows, "after", PAPER_70).average
    assert average.whole and average.score == 0
