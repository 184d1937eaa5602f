"""docs/own-datasets.md as its reader follows it, and what goes wrong on the way."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
PAGE = Path(__file__).resolve().parents[2] / "docs" / "own-datasets.md"
BLOCK = re.compile(r"`(my-data/[^`]+)`:\n\n```\w+\n(.*?)```", re.DOTALL)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The page's files."""
    for name, text in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "my-data"


@pytest.mark.slow
def test_the_page_builds_its_dataset(own: Path, store: Path, medi: Run, server: str) -> None:
    check = medi("sources", "--sources", str(own), "--check")
    assert (check.returncode, check.stdout.strip()) == (0, "0 faults")
    shown = medi("sources", "--sources", str(own), "tool_questions")
    assert "collection: own" in shown.stdout

    out = own.parent / "out"
    arguments = ("--sources", str(own), "--only", "tool_questions", "--store", str(store))
    built = medi("build", *arguments, "--publish", str(out), api=server)
    assert built.returncode == 0, built.stderr
    rows = pd.read_parquet(out / "data" / "tool_questions")
    assert len(rows) == 6
    assert set(rows["query_instruction"]) == {
        "Represent the woodworking question for retrieving the advice that answers it: "
    }
    assert all(1 <= len(negatives) <= 4 for negatives in rows["neg"])
    assert "tool_questions" not in json.loads((out / "task_ids.json").read_text())

    questions = own / "questions.jsonl"
    questions.write_text(questions.read_text().replace("claw hammer", "hammer"), encoding="utf-8")
    plan = json.loads(medi("plan", *arguments, "--json").stdout)["run"]
    assert [step["stage"] for step in plan] == [
        "fetch", "pairs", "mine", "shards", "decontaminate", "publish",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: tool_questions", "name: ../tools", "records.yaml: record ../tools: field name"),
        ("name: tool_questions", "name: a/b", "records.yaml: record a/b: field name"),
        ("name: tool_questions", "name: default", "'default' is what load_dataset"),
        (
            "files: [questions.jsonl]",
            f"files: [questions.jsonl], sha256: [{'ab' * 32}]",
            "pins abab",
        ),
        ("name: tool_questions", "name: squad_pairs", "squad_pairs is in medi's catalog"),
        ("jsonl_query_pos_neg", "jsonl_trio", "records.yaml: record tool_questions: field reader"),
        ("layout: jsonl_query_pos_neg", "layout: jsonl_list, qury: 0", "qury"),
        ("[questions.jsonl]", "[../questions.jsonl]", "location"),
        ("[questions.jsonl]", "[answers.jsonl]", "answers.jsonl: no such file"),
        ("rows: 1000", "rows: none", "rows"),
    ],
)
def test_a_faulty_record_is_one_line_before_any_work(
    own: Path, tmp_path: Path, medi: Run, old: str, new: str, message: str
) -> None:
    records = own / "records.yaml"
    records.write_text(records.read_text().replace(old, new), encoding="utf-8")
    failed = medi("sources", "--sources", str(own))
    assert failed.returncode == 2
    assert message in failed.stderr
    assert failed.stderr.startswith("medi: ") and failed.stderr.count("\n") == 1


def test_an_annotation_that_does_not_fit_is_one_line_before_any_work(
    own: Path, medi: Run, tmp_path: Path
) -> None:
    annotation = own / "annotations" / "tool_questions.yaml"
    annotation.write_text(annotation.read_text().partition("document:")[0])
    failed = medi("plan", "--sources", str(own), "--store", str(tmp_path / "store"))
    assert failed.returncode == 2
    assert "tool_questions: document: the dataset is asymmetric" in failed.stderr


def test_a_typo_in_an_annotation_names_file_and_field(own: Path, medi: Run, tmp_path: Path) -> None:
    annotation = own / "annotations" / "tool_questions.yaml"
    annotation.write_text(annotation.read_text().replace("objective:", "objectiv:", 1))
    failed = medi("plan", "--sources", str(own), "--store", str(tmp_path / "store"))
    assert failed.returncode == 2
    assert "tool_questions.yaml: field query.objectiv" in failed.stderr
    assert failed.stderr.count("\n") == 1
