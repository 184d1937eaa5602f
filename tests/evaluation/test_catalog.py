"""The task catalog: what a user picks tasks from, and what a wrong record is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from artifacts.errors import InputError
from evaluation.catalog import load_catalog, select
from evaluation.records import EvalTask

RECORD = """
- name: Tides
  category: STS
  location: {kind: hub, repository: a/b, revision: r1, files: [x.csv]}
  layout: stsb_csv
  query_instruction: "Represent the tide for a test: "
  doc_instruction: "Represent the tide for a test: "
  metric: cosine_spearman
  licence: unknown
"""


def test_names_are_chosen_in_the_order_given_and_once() -> None:
    chosen = select(["STS15", "STS12", "STS15"])
    assert [task.name for task in chosen] == ["STS15", "STS12"]


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(InputError, match=r"no evaluation task 'STSBench': .*STSBenchmark"):
        select(["STS12", "STSBench"])
    with pytest.raises(InputError, match="STSBenchmark"):
        select(["stsbenchmark"])


def test_tasks_of_one_kind_of_text_have_one_instruction() -> None:
    for task in load_catalog().values():
        one_kind = task.layout != "squad"
        assert (task.query_instruction == task.doc_instruction) == one_kind, task.name


def test_a_task_that_lacks_upstream_data_says_so() -> None:
    """STS12 has four of five files: its score must not be read as a leaderboard's."""
    assert "MSRvid" in load_catalog()["STS12"].note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("for a test: ", "for a test:"), "colon and one space"),
        (("cosine_spearman", "cosine_pearsom"), "field metric"),
        (("metric: ", "metrics: "), "field metric"),
        (("revision: r1, ", ""), "revision"),
        (("stsb_csv", "label_lines"), "test_rows"),
    ],
)
def test_a_wrong_record_is_refused_with_its_place(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text(RECORD.replace(*change))
    with pytest.raises(InputError, match=message) as raised:
        load_catalog(path)
    assert "task 1" in str(raised.value)


def test_aliases_and_second_names_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_text("- &a [x]\n- *a\n")
    with pytest.raises(InputError, match="aliases"):
        load_catalog(path)
    path.write_text(RECORD + RECORD)
    with pytest.raises(InputError, match="task 2, Tides stands there twice"):
        load_catalog(path)
    path.write_text("name: x")
    with pytest.raises(InputError, match="list of tasks"):
        load_catalog(path)


def test_test_rows_belong_to_label_lines_alone(eval_task: Callable[..., EvalTask]) -> None:
    with pytest.raises(ValidationError, match="label_lines"):
        eval_task("squad", test_rows=5)
