"""The task catalog: what a user picks tasks from, and what a wrong record is told."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from pydantic import ValidationError

from artifacts.errors import InputError
from evaluation import mteb_tasks
from evaluation.catalog import CATALOG, instructions_of, load_catalog, select
from evaluation.paper import BILLBOARD_3, MTEB_56, PAPER_70
from evaluation.records import CATEGORIES, EvalTask, EvaluationOptions

RECORD = """
- name: Tides
  category: STS
  location: {kind: hub, repository: a/b, revision: r1, files: [x.csv]}
  layout: stsb_csv
  metric: cosine_spearman
  characters: 1000
  licence: unknown
"""


def test_names_are_chosen_in_the_order_given_and_once() -> None:
    chosen = select(["STS15", "STS12", "STS15"])
    assert [task.name for task in chosen] == ["STS15", "STS12"]


def test_a_category_and_paper_mean_the_papers_tasks() -> None:
    assert [task.name for task in select(["paper"])] == list(PAPER_70)
    assert [task.name for task in select(["billboard", "BillboardWMT"])] == list(BILLBOARD_3)
    counts = [len(select([category])) for category in CATEGORIES]
    assert counts == [15, 4, 11, 3, 12, 10, 1, 3, 11] and sum(counts) == 70


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(InputError, match=r"no evaluation task 'STSBench': .*STSBenchmark"):
        select(["STS12", "STSBench"])
    with pytest.raises(InputError, match="Pair Classification"):
        select(["pairclassification"])


def test_the_papers_tasks_are_whole() -> None:
    """Four of them MEDI has trained on (paper, section 3.2)."""
    tasks = select(["paper"])
    assert {t.name for t in tasks if t.seen} == {"FEVER", "HotpotQA", "MSMARCO", "NQ"}
    assert all(t.metric == "rouge_l" for t in tasks if t.category == "Prompt retrieval")
    assert all((t.mteb is not None) == (t.name in MTEB_56) for t in tasks)


def test_every_task_has_instructions_of_every_wording() -> None:
    for task in load_catalog().values():
        wordings = [
            instructions_of(task, EvaluationOptions(paraphrase=p)) for p in (None, 0, 1, 2, 3, 4)
        ]
        assert len(set(wordings)) == 6
        assert all((query == document) == task.symmetric for query, document in wordings)
        assert instructions_of(task, EvaluationOptions(detail="none")) == ("", "")


def test_the_records_of_the_56_are_as_mteb_has_the_tasks() -> None:
    out = io.StringIO()
    with redirect_stdout(out):
        mteb_tasks.main()
    assert out.getvalue() == (CATALOG / "mteb.yaml").read_text(encoding="utf-8")


def test_a_task_that_lacks_upstream_data_says_so() -> None:
    """STS12 has four of five files: its score must not be read as a leaderboard's."""
    assert "MSRvid" in load_catalog()["STS12-github"].note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("layout: stsb_csv", "mteb: {a/b: r1}"), "either mteb or location"),
        (("layout: stsb_csv", "note: no layout"), "layout goes with location"),
        (("stsb_csv", "prompt_json"), "prompt goes with"),
        (("cosine_spearman", "cosine_pearsom"), "field metric"),
        (("metric: ", "metrics: "), "field metric"),
        (("revision: r1, ", ""), "revision"),
        (("stsb_csv", "label_lines"), "test_rows"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    (tmp_path / "catalog.yaml").write_text(RECORD.replace(*change))
    with pytest.raises(InputError, match=message) as raised:
        load_catalog(tmp_path)
    assert "task 1" in str(raised.value)


def test_aliases_and_second_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("- &a [x]\n- *a\n")
    with pytest.raises(InputError, match="aliases"):
        load_catalog(tmp_path)
    path.write_text(RECORD + RECORD)
    with pytest.raises(InputError, match="task 2, Tides stands there twice"):
        load_catalog(tmp_path)
    path.write_text("name: x")
    with pytest.raises(InputError, match="list of tasks"):
        load_catalog(tmp_path)


def test_test_rows_belong_to_label_lines_alone(eval_task: Callable[..., EvalTask]) -> None:
    with pytest.raises(ValidationError, match="label_lines"):
        eval_task("squad", test_rows=5)
